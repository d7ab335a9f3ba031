imported       = true
fabric_version = "3.1.1"
