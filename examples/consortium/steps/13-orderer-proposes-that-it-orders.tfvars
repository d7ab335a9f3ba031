stage = 5
