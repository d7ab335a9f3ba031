# Both organizations endorse from now on, and prices are private.
release = {
  version            = "2.0"
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
