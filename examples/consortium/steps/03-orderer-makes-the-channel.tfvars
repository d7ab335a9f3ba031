stage = 1
