fabric_version     = "3.1.1"
channel_capability = "V3_0"
