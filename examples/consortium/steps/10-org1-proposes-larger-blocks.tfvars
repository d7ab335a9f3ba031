stage = 3
