imported = true
