batch_interval = "200ms"
key_version    = 2
