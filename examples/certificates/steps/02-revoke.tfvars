# The visitor is not welcome any more.
key_version = 2
revoked     = ["visitor"]
