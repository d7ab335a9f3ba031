fabric_version = "3.1.1"
