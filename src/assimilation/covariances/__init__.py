"""Background covariances: structured operators, rings, and the climatologies they come from."""
