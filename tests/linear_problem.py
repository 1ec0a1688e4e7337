"""A linear problem, and the answers of linear theory in plain NumPy, without the package."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from oracle import kalman_update

from assimilation import Background, LinearObs, Observations, Problem, dense


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


class LinearProblem:
    """A random linear model, observations of it, and the Kalman smoother's answer.

    Observations stand at every time where `mask` (T + 1, N) has them: a random one, where
    none is given. Their errors are independent, or have a covariance if `full_R`.
    """

    def __init__(self, seed, size=5, n_obs=3, n_steps=8, error_scale=0.0, mask=None, full_R=False):
        rng = np.random.default_rng(seed)
        rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
        self.M = 1.05 * rotation
        self.H = rng.normal(size=(n_obs, size))
        self.x_b, self.B = rng.normal(size=size), covariance(rng, size)
        self.R = np.diag(rng.uniform(0.2, 0.6, size=n_obs))
        if full_R:
            self.R = 0.4 * covariance(rng, n_obs)
        self.Q = np.stack([error_scale * covariance(rng, size) for _ in range(n_steps)])
        drawn = (rng.uniform(size=(n_steps + 1, n_obs)) < 0.7).astype(float)
        self.mask = drawn if mask is None else np.asarray(mask, float)
        self.obs = self.draw(rng)

    def draw(self, rng):
        """Observations (T + 1, N) of one more truth."""
        state = self.x_b + np.linalg.cholesky(self.B) @ rng.normal(size=len(self.x_b))
        obs = np.zeros(self.mask.shape)
        for t, mask in enumerate(self.mask):
            noise = np.linalg.cholesky(self.R) @ rng.normal(size=len(mask))
            obs[t] = mask * (self.H @ state + noise)
            if t < len(self.Q):
                error = np.linalg.cholesky(self.Q[t]) if self.Q[t].any() else self.Q[t]
                state = self.M @ state + error @ rng.normal(size=len(state))
        return obs

    @property
    def observations(self):
        diagonal = np.count_nonzero(self.R - np.diag(np.diag(self.R))) == 0
        R = np.diag(self.R) if diagonal else self.R
        return Observations(
            range(len(self.obs)),
            jnp.asarray(self.obs),
            LinearObs(self.H),
            np.broadcast_to(R, (len(self.obs), *R.shape)),
            mask=self.mask,
        )

    @property
    def problem(self):
        background = Background(jnp.asarray(self.x_b), dense(self.B))
        return Problem(LinearModel(jnp.asarray(self.M)), background, self.observations)

    def updates(self):
        """Mean and covariance of the analysis at each time alone, from the background."""
        return [self.update(self.x_b, self.B, t) for t in range(len(self.obs))]

    def update(self, mean, cov, t):
        """The Kalman update by the observations of time t."""
        seen = self.mask[t] > 0
        R = self.R[np.ix_(seen, seen)]
        return kalman_update(mean, cov, self.H[seen], R, self.obs[t][seen])

    def filter(self):
        """Predicted and filtered (mean, covariance) at each time (Kalman 1960)."""
        mean, cov = self.x_b, self.B
        predicted, filtered = [], []
        for t in range(len(self.obs)):
            if t > 0:
                mean, cov = self.M @ mean, self.M @ cov @ self.M.T + self.Q[t - 1]
            predicted.append((mean, cov))
            mean, cov = self.update(mean, cov, t)
            filtered.append((mean, cov))
        return predicted, filtered

    def smoother(self):
        """Means (T + 1, D) and covariances (T + 1, D, D) of Rauch, Tung & Striebel (1965)."""
        predicted, filtered = self.filter()
        smoothed = [filtered[-1]]
        for t in reversed(range(len(self.obs) - 1)):
            (m, P), (m_next, P_next) = filtered[t], predicted[t + 1]
            gain = P @ self.M.T @ np.linalg.inv(P_next)
            mean, cov = smoothed[0]
            smoothed.insert(0, (m + gain @ (mean - m_next), P + gain @ (cov - P_next) @ gain.T))
        return tuple(np.stack(parts) for parts in zip(*smoothed, strict=True))
