# A key may be known to somebody else: all members of org1 get new ones, and what was issued for the
# old ones is revoked.
key_version = 2
