"""What is observed: operators, the observations of a window, and batches of windows."""
