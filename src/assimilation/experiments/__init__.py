"""Twin experiments: problems with a known truth, cycles, scores and tables."""
