stage = 4
