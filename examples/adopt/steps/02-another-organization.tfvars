imported = true
org3     = true
