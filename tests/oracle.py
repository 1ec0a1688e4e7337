"""Independent answers, in plain NumPy: the Kalman update."""

import numpy as np


def kalman_update(mean, cov, H, R, y):
    """The analysis of one set of observations."""
    gain = cov @ H.T @ np.linalg.inv(H @ cov @ H.T + R)
    return mean + gain @ (y - H @ mean), (np.eye(len(mean)) - gain @ H) @ cov
