stage = 8
