"""What a background error looks like, seen in forecasts alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.models.integrate import ForwardModel, spun_up


def forecast_differences(
    forward: ForwardModel,
    analyses: Float[Array, "n D"],
    n_steps: int,
    short: int = 1,
    long: int = 2,
) -> Float[Array, "n_pairs D"]:
    """Differences of forecasts valid at the same time, for the NMC estimate of B.

    Parrish & Derber (1992): the truth is not known, but two forecasts for one
    time, of different ages, differ by something like a forecast error. `analyses` (n, D)
    are consecutive, `n_steps` model steps apart. From each one that allows it, a forecast
    `long` intervals ahead is compared with the one `short` intervals ahead from the
    analysis `long - short` intervals later: (n - long + short, D) differences.

    Their covariance has the shape of B but not its size: scale it, after
    `RingCovariance.from_samples`, `LowRank.from_samples` or `jnp.cov`.
    Raises TypeError if `forward` is not a forward model, ValueError for leads that are
    not 1 <= short < long, or for too few analyses.
    """
    require.forward_model(forward)
    require.count(n_steps=n_steps, short=short)
    require.count(short + 1, long=long)
    require.shape(("n", "D"), analyses=analyses)
    later = long - short
    if len(analyses) <= later:
        raise ValueError(
            f"analyses has {len(analyses)} rows: pass more than long - short = {later}."
        )
    run = jax.vmap(lambda state, steps: spun_up(forward, state, steps), in_axes=(0, None))
    old = run(jnp.asarray(analyses)[:-later], long * n_steps)
    new = run(jnp.asarray(analyses)[later:], short * n_steps)
    return old - new
