"""The answers of linear theory in plain NumPy, written without the package."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from assimilation import Batch1D, LinearObs


class LinearModel(eqx.Module):
    """x -> M x."""

    matrix: jax.Array
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, state, dt):
        return self.matrix @ state


def covariance(rng, size):
    """A well-conditioned random covariance matrix."""
    factor = rng.normal(size=(size, size))
    return factor @ factor.T / size + 0.5 * np.eye(size)


def tagged(matrix):
    return lx.MatrixLinearOperator(jnp.asarray(matrix), lx.positive_semidefinite_tag)


class LinearProblem:
    """A random linear model, observations of it, and the Kalman smoother's answer."""

    def __init__(self, seed, size=5, n_obs=3, n_steps=8, error_scale=0.0):
        rng = np.random.default_rng(seed)
        rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
        self.M = 1.05 * rotation
        self.H = rng.normal(size=(n_obs, size))
        self.x_b, self.B = rng.normal(size=size), covariance(rng, size)
        self.variance = rng.uniform(0.2, 0.6, size=n_obs)
        self.Q = np.stack([error_scale * covariance(rng, size) for _ in range(n_steps)])
        self.mask = (rng.uniform(size=(n_steps + 1, n_obs)) < 0.7).astype(float)
        state = self.x_b + np.linalg.cholesky(self.B) @ rng.normal(size=size)
        self.obs = np.zeros((n_steps + 1, n_obs))
        for t in range(n_steps + 1):
            noise = np.sqrt(self.variance) * rng.normal(size=n_obs)
            self.obs[t] = self.mask[t] * (self.H @ state + noise)
            if t < n_steps:
                draw = np.sqrt(np.diag(self.Q[t])) * rng.normal(size=size)
                state = self.M @ state + draw

    @property
    def ingredients(self):
        return {
            "forward": LinearModel(jnp.asarray(self.M)),
            "obs_op": LinearObs(H_mat=jnp.asarray(self.H)),
            "prior_mean": jnp.asarray(self.x_b),
            "prior_cov_op": tagged(self.B),
            "obs_cov_op": lx.DiagonalLinearOperator(jnp.asarray(self.variance)),
        }

    @property
    def batch(self):
        return Batch1D(input=jnp.asarray(self.obs)[None], mask=jnp.asarray(self.mask)[None])

    def smoother(self):
        """Means (T + 1, D) and covariances (T + 1, D, D) of Rauch, Tung & Striebel (1965)."""
        mean, cov = self.x_b, self.B
        filtered, predicted = [], []
        for t in range(len(self.obs)):
            if t > 0:
                mean, cov = self.M @ mean, self.M @ cov @ self.M.T + self.Q[t - 1]
            predicted.append((mean, cov))
            seen = self.mask[t] > 0
            H = self.H[seen]
            S = H @ cov @ H.T + np.diag(self.variance[seen])
            gain = cov @ H.T @ np.linalg.inv(S)
            mean = mean + gain @ (self.obs[t][seen] - H @ mean)
            cov = cov - gain @ S @ gain.T
            filtered.append((mean, cov))
        smoothed = [filtered[-1]]
        for t in reversed(range(len(self.obs) - 1)):
            (m, P), (m_next, P_next) = filtered[t], predicted[t + 1]
            gain = P @ self.M.T @ np.linalg.inv(P_next)
            mean, cov = smoothed[0]
            smoothed.insert(0, (m + gain @ (mean - m_next), P + gain @ (cov - P_next) @ gain.T))
        return tuple(np.stack(parts) for parts in zip(*smoothed, strict=True))
