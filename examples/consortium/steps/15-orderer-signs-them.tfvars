stage = 6
