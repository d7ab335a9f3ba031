# It is found, with no state and no configuration of it.
