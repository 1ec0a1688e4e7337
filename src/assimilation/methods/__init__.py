"""Methods: each turns the observations of a window into an analysis."""
