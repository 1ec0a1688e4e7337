"""The local ensemble transform Kalman filter: each entry of the state by what is near it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

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
        place = self.localisation
        seen = ensemble.seen.T

        def entry(inputs):
            where, neighbours, x = inputs
            weight = place.weights(where, neighbours)
            # The root has no derivative at zero.
            root = jnp.where(weight > 0, jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
            S = seen[neighbours].T * root
            return transformed(S, root * ensemble.departure[neighbours], x)

        inputs = (place.state, place.neighbours, ensemble.anomalies.T)
        increments, anomalies = in_batches(entry, inputs, self.batch_size)
        anomalies = rotated(anomalies.T, key) if self.rotate else anomalies.T
        return ensemble.mean + increments, anomalies


def transformed(
    S: Float[Array, "m n"], departure: Float[Array, " n"], x: Float[Array, " m"]
) -> tuple[Float[Array, ""], Float[Array, " m"]]:
    """The increment of an entry's mean, and its anomalies `x` under T = (I + S S^T/(m-1))^{-1/2}.

    Where the n observations are fewer than the members, by the root of the smaller system
    A = I + S^T S / (m - 1): T = I - S (A + A^{1/2})^{-1} S^T / (m - 1).
    """
    m, n = S.shape
    if n >= m:
        T = inverse_square_root(jnp.eye(m, dtype=S.dtype) + S @ S.T / (m - 1))
        Tx = T @ x
        return -(T @ (S @ departure)) @ Tx / (m - 1), Tx
    A = jnp.eye(n, dtype=S.dtype) + S.T @ S / (m - 1)
    T = inverse_square_root(A)
    Sx = x @ S / (m - 1)
    change = S @ jax.scipy.linalg.solve(A + A @ T, Sx, assume_a="pos")
    return -(T @ departure) @ (T @ Sx), x - change


def in_batches(function: Callable, inputs: PyTree[Array], size: int) -> PyTree[Array]:
    """`function` of each of the inputs, for at most `size` of them at a time.

    A batch takes its entries from all over the state, in equal steps: where the state is
    spread over devices, each of them has a share in each batch. The batches are equally
    long, filled up only where the number of entries has no divisor that would do.
    """
    n = len(jax.tree.leaves(inputs)[0])
    fewest = -(-n // size)
    n_batches = next((k for k in range(fewest, 2 * fewest) if n % k == 0), fewest)
    size = -(-n // n_batches)

    def cut(array):
        filled = jnp.concatenate([array, array[: size * n_batches - n]])
        return jnp.moveaxis(filled.reshape(size, n_batches, *array.shape[1:]), 1, 0)

    found = jax.lax.map(jax.vmap(function), jax.tree.map(cut, inputs))
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1).reshape(-1, *a.shape[2:])[:n], found)
