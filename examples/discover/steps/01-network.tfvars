# Somebody makes a network.
