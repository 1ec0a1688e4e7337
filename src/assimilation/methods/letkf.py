"""The local ensemble transform Kalman filter: each entry of the state by what is near it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from assimilation import require
from assimilation.covariances.localisation import Localisation
from assimilation.methods.ensemble_filter import Members
from assimilation.methods.ensemble_kalman import ETKF, rotated
from assimilation.methods.inverse_square_root import inverse_square_root
from assimilation.observations.operators import Time
from assimilation.observations.window import Observations


class LETKF(ETKF):
    """The local ensemble transform Kalman filter (Hunt, Kostelich & Szunyogh 2007).

    Each entry of the state is analysed by a transform filter of its own, from the
    observations within reach, whose inverse error variances are multiplied by weights that
    fade with distance: S_i = S W_i^{1/2}. Few members span few directions, but everywhere
    others. `localisation` says where entries and observations are.

    Work and memory are linear in the state: `batch_size` entries are analysed at a time.
    R must be diagonal, so that an observation has a weight of its own.
    """

    localisation: Localisation = eqx.field(kw_only=True)
    batch_size: int = eqx.field(default=1024, static=True)

    def __check_init__(self):
        require.is_a(
            Localisation,
            "Localisation.on_ring(...) or Localisation(...)",
            localisation=self.localisation,
        )
        require.shape((len(self.localisation.state),), **{"prior_mean": self.prior_mean})
        require.count(batch_size=self.batch_size)

    def update(self, prior: Members, observations: Observations, row: Time, key: Array):
        require.shape(
            (len(self.localisation.observed),), **{"the values of one time": observations.values[0]}
        )
        if observations.error.ndim == 3:
            raise ValueError(
                "error is a full covariance, and a localised analysis needs a weight for each "
                "value: pass a diagonal R, or the values in the directions of its eigenvectors."
            )
        return super().update(prior, observations, row, key)

    def analysed(self, ensemble, key):
        m = len(ensemble.anomalies)
        place = self.localisation
        seen = ensemble.seen.T

        def entry(inputs):
            where, neighbours, x = inputs
            weight = place.weights(where, neighbours)
            # The root has no derivative at zero.
            root = jnp.where(weight > 0, jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
            S = seen[neighbours].T * root
            T = inverse_square_root(jnp.eye(m, dtype=S.dtype) + S @ S.T / (m - 1))
            weights = -T @ (T @ (S @ (root * ensemble.departure[neighbours]))) / (m - 1)
            return weights @ x, T @ x

        inputs = (place.state, place.neighbours, ensemble.anomalies.T)
        increments, anomalies = jax.lax.map(entry, inputs, batch_size=self.batch_size)
        anomalies = rotated(anomalies.T, key) if self.rotate else anomalies.T
        return ensemble.mean + increments, anomalies
