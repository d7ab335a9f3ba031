stage = 2
