# The way back is a release too: the earlier code under the present rules. The collection stays, because Fabric
# takes none away.
release = {
  version            = "1.0"
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
  collections = {
    prices = {
      member_policy       = "OR('Org1MSP.member', 'Org2MSP.member')"
      endorsement_policy  = "OR('Org1MSP.peer')"
      required_peer_count = 1
      max_peer_count      = 1
      member_only_read    = true
      member_only_write   = true
    }
  }
}
