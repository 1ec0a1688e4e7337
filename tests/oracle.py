"""Independent answers, in plain NumPy: the Kalman update and smoother."""

import numpy as np


def kalman_update(mean, cov, H, R, y):
    """The analysis of one set of observations."""
    gain = cov @ H.T @ np.linalg.inv(H @ cov @ H.T + R)
    return mean + gain @ (y - H @ mean), (np.eye(len(mean)) - gain @ H) @ cov


def kalman_smoother(mean, cov, M, Q, H, R, obs, mask):
    """The smoother's means (T, D) and covariances (T, D, D) at every time.

    x_{t+1} = M x_t + eta_t with covariance Q (D, D); obs, mask (T, N). The whole
    trajectory is Gaussian, so that one Kalman update of it is the smoother; unlike the
    backward recursion, that needs no inverse of a covariance that Q = 0 makes singular.
    """
    n_time, size = len(obs), len(mean)
    means, root_steps = [mean], [np.eye(size)]
    for _ in range(n_time - 1):
        means.append(M @ means[-1])
        root_steps.append(M @ root_steps[-1])
    # x_t = M^t x_0 + sum_s M^{t-1-s} eta_s, written as one matrix acting on [x_0, etas].
    steps = np.zeros((n_time, size, n_time, size))
    for t in range(n_time):
        steps[t, :, 0] = root_steps[t]
        for s in range(t):
            steps[t, :, s + 1] = root_steps[t - 1 - s]
    steps = steps.reshape(n_time * size, n_time * size)
    sources = np.kron(np.eye(n_time), Q)
    sources[:size, :size] = cov
    trajectory_cov = steps @ sources @ steps.T
    seen = mask.ravel() > 0
    H_all = np.kron(np.eye(n_time), H)[seen]
    R_all = np.kron(np.eye(n_time), R)[np.ix_(seen, seen)]
    states, covariance = kalman_update(
        np.concatenate(means), trajectory_cov, H_all, R_all, obs.ravel()[seen]
    )
    blocks = covariance.reshape(n_time, size, n_time, size)
    return states.reshape(n_time, size), np.array([blocks[t, :, t] for t in range(n_time)])
