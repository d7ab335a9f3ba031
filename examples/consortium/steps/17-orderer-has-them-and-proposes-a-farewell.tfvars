stage = 7
