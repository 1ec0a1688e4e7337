"""Scores of an estimate against the truth."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import checks


def rmse(
    estimate: Float[Array | np.ndarray, "..."],
    truth: Float[Array | np.ndarray, "..."],
    axis: int | tuple[int, ...] | None = None,
) -> Float[Array, "..."]:
    """Root mean square error over `axis` (None: over everything).

    Raises ValueError if the shapes differ. NaN in, NaN out.
    """
    checks.shape(jnp.shape(truth), estimate=estimate)
    return jnp.sqrt(jnp.mean((estimate - truth) ** 2, axis=axis))


def valid_time(
    trace: Float[Array, " T"], start: int, dt: float, threshold: float
) -> Float[Array, ""]:
    """Time after step `start` at which an RMSE trace first exceeds `threshold`.

    In the units of `dt`. A trace that never exceeds it gives the whole forecast time,
    which is then a lower bound; one that is not finite counts as exceeding.
    """
    checks.positive(dt=dt, threshold=threshold)
    checks.count(0, start=start)
    forecast = trace[start:]
    lost = ~(forecast <= threshold)
    first = jnp.where(lost.any(), jnp.argmax(lost), forecast.size - 1)
    return first * dt
