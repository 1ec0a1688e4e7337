"""Ensemble Kalman filters: the covariance is that of the members."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.methods.ensemble_filter import MemberFilter, Members, departures
from assimilation.methods.inverse_square_root import inverse_square_root
from assimilation.models.integrate import Parameter
from assimilation.observations.operators import Time
from assimilation.observations.window import Observations


class Ensemble(NamedTuple):
    """Members as a mean (D,) and anomalies (m, D), and the same seen in the observations.

    `departure` (N,) is R^{-1/2} (h(x) - y) averaged over the members, `seen` (m, N) what
    each of them differs from that.
    """

    mean: Float[Array, " D"]
    anomalies: Float[Array, "m D"]
    departure: Float[Array, " N"]
    seen: Float[Array, "m N"]

    @classmethod
    def of(cls, states: Float[Array, "m D"], seen: Float[Array, "m N"]) -> "Ensemble":
        """From the members (m, D) and their departures (m, N)."""
        mean, departure = states.mean(axis=0), seen.mean(axis=0)
        return cls(mean, states - mean, departure, seen - departure)


class EnsembleKalman(MemberFilter):
    """An ensemble Kalman filter, but for its update.

    After each update the anomalies are multiplied by `inflation`, and then relaxed to
    the spread before it: entry by entry they are rescaled to `relaxation` times the standard
    deviation of the forecast plus 1 - `relaxation` times that of the analysis (Whitaker &
    Hamill 2012). Both are leaves, to differentiate or batch.
    """

    inflation: Parameter = 1.0
    relaxation: Parameter = 0.0

    def __check_init__(self):
        require.positive(inflation=self.inflation)
        if require.is_concrete(self.relaxation) and not 0 <= self.relaxation <= 1:
            raise ValueError(f"relaxation={self.relaxation!r}: pass a share between 0 and 1.")

    @abstractmethod
    def analysed(
        self, ensemble: Ensemble, key: Array
    ) -> tuple[Float[Array, " D"], Float[Array, "m D"]]:
        """Mean and anomalies of the analysis."""

    def update(
        self, prior: Members, observations: Observations, row: Time, key: Array
    ) -> tuple[Members, Float[Array, ""]]:
        seen = departures(prior.states, observations, row)
        ensemble = Ensemble.of(prior.states, seen)
        mean, anomalies = self.analysed(ensemble, key)
        anomalies = self.inflation * anomalies
        if not (require.is_concrete(self.relaxation) and self.relaxation == 0):
            before, after = ensemble.anomalies.std(axis=0), anomalies.std(axis=0)
            change = jnp.where(after > 0, (before - after) / jnp.where(after > 0, after, 1), 0)
            anomalies = anomalies * (1 + self.relaxation * change)
        # Where nothing was seen, nothing changes: the spread is not inflated either.
        states = jnp.where(observations.mask[row].any(), mean + anomalies, prior.states)
        return prior._replace(states=states), jnp.asarray(len(states), mean.dtype)


def gain_weights(seen: Float[Array, "m N"], departures: Float[Array, "k N"]) -> Float[Array, "k m"]:
    """The coefficients (k, m) of the anomalies in -K R^{1/2} d, for k departures d (N,).

    With S = `seen` they are -d S^T (S S^T + (m - 1) I)^{-1}, or the same with the smaller
    system -d (S^T S + (m - 1) I)^{-1} S^T.
    """
    m, N = seen.shape
    if m > N:
        system = seen.T @ seen + (m - 1) * jnp.eye(N, dtype=seen.dtype)
        solved = jax.scipy.linalg.solve(system, departures.T, assume_a="pos").T
        return -solved @ seen.T
    system = seen @ seen.T + (m - 1) * jnp.eye(m, dtype=seen.dtype)
    return -jax.scipy.linalg.solve(system, seen @ departures.T, assume_a="pos").T


class EnKF(EnsembleKalman):
    """The stochastic ensemble Kalman filter: each member sees perturbed observations.

    x_i <- x_i + K (y + e_i - h(x_i)), e_i drawn from N(0, R) and shifted to a mean of
    zero, with K = P H^T (H P H^T + R)^{-1} from the members' own covariance (Burgers, van
    Leeuwen & Evensen 1998).
    """

    def analysed(self, ensemble, key):
        seen = ensemble.seen
        noise = jax.random.normal(key, seen.shape, seen.dtype)
        noise = noise - noise.mean(axis=0)
        # The rows of missing values have no spread and no departure: noise there does nothing.
        increments = gain_weights(seen, ensemble.departure + seen - noise) @ ensemble.anomalies
        members = ensemble.mean + ensemble.anomalies + increments
        mean = members.mean(axis=0)
        return mean, members - mean


class DEnKF(EnsembleKalman):
    """The deterministic ensemble Kalman filter: anomalies get half the gain.

    X <- X - K H X / 2, an approximation of the square root where the correction is small,
    and one that keeps more spread where it is not (Sakov & Oke 2008a).
    """

    def analysed(self, ensemble, key):
        X = ensemble.anomalies
        mean = ensemble.mean + gain_weights(ensemble.seen, ensemble.departure[None])[0] @ X
        return mean, X + 0.5 * gain_weights(ensemble.seen, ensemble.seen) @ X


class ETKF(EnsembleKalman):
    """The ensemble transform Kalman filter: the anomalies are multiplied by a square root.

    X <- T X with the symmetric T = (I + S S^T / (m - 1))^{-1/2}, S the anomalies seen in
    the observations, which gives the covariance of the Kalman filter for the members' own
    (Bishop, Etherton & Majumdar 2001; Hunt, Kostelich & Szunyogh 2007, eqs. 20-24).

    `rotate` turns the anomalies at random among the members, by rotations that keep
    mean and covariance (Sakov & Oke 2008b): without them one member can leave the others.
    """

    rotate: bool = eqx.field(default=True, static=True)

    def analysed(self, ensemble, key):
        X, S = ensemble.anomalies, ensemble.seen
        m = len(X)
        T = inverse_square_root(jnp.eye(m, dtype=S.dtype) + S @ S.T / (m - 1))
        weights = -T @ (T @ (S @ ensemble.departure)) / (m - 1)
        mean = ensemble.mean + weights @ X
        return mean, (rotated(T, key) if self.rotate else T) @ X


def rotated(transform: Float[Array, "m n"], key: Array) -> Float[Array, "m n"]:
    """The rows of `transform` turned by a random rotation that keeps their mean.

    It is uniformly distributed on the rotations and reflections that leave the vector of
    ones where it is: the others are turned among themselves (Sakov & Oke 2008b).
    """
    m = len(transform)
    # A reflection that swaps the direction of the ones and the first axis.
    mirror = jnp.full(m, m**-0.5, transform.dtype).at[0].add(-1)
    swap = jnp.eye(m, dtype=transform.dtype) - jnp.outer(mirror, mirror) * (2 / (mirror @ mirror))
    turned = swap @ transform
    others = jax.random.orthogonal(key, m - 1, dtype=transform.dtype) @ turned[1:]
    return swap @ jnp.concatenate([turned[:1], others])
