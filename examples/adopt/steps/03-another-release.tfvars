imported       = true
org3           = true
fabric_version = "3.1.1"
