"""Set-ups of published experiments, their score, and what it takes to agree with one."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.experiments.cycling import Cycle
from assimilation.experiments.generators import (
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    start_l63,
    start_on_ring,
)
from assimilation.experiments.twins import Twin, twin
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.observations.operators import LinearObs, identity


def lorenz63_sakov2012(*, key: Array, n_cycles: int = 1000) -> Twin:
    """Lorenz-63 with all observed every 25 steps of 0.01, R = 2 I.

    Sakov, Oliver & Bertino (2012, table 1). The twin has `n_cycles` + 1
    observed times, the first of them at its first step.
    """
    require.count(n_cycles=n_cycles)
    forward = Lorenz63Forward(dt=0.01)
    return twin(
        forward,
        key=key,
        start=start_l63,
        operator=identity(3),
        error=2.0**0.5,
        T_assim=25 * n_cycles,
        T_total=25 * n_cycles,
        obs_every=25,
        spin_up=1000,
        statistics=climatology_l63(forward),
    )


def _lorenz96(every: int, *, key: Array, n_cycles: int = 1000) -> Twin:
    require.count(n_cycles=n_cycles)
    forward = Lorenz96Forward(K=40, F=8.0, dt=0.05)
    return twin(
        forward,
        key=key,
        start=start_on_ring(forward),
        operator=identity(40),
        error=1.0,
        T_assim=every * n_cycles,
        T_total=every * n_cycles,
        obs_every=every,
        spin_up=400,
        statistics=climatology_l96(forward),
    )


def lorenz96_sakov2008(*, key: Array, n_cycles: int = 1000) -> Twin:
    """Lorenz-96, 40 sites, all observed at every step of 0.05, R = I.

    Sakov & Oke (2008a). Observed times as for `lorenz63_sakov2012`.
    """
    return _lorenz96(1, key=key, n_cycles=n_cycles)


def lorenz96_sakov2012(*, key: Array, n_cycles: int = 1000) -> Twin:
    """The same, observed every 12 steps: far from linear between observations.

    Sakov, Oliver & Bertino (2012, table 3).
    """
    return _lorenz96(12, key=key, n_cycles=n_cycles)


def lorenz96_bocquet2013(*, key: Array, n_cycles: int = 1000) -> Twin:
    """The same, observed every 4 steps (Bocquet & Sakov 2013, figure 4)."""
    return _lorenz96(4, key=key, n_cycles=n_cycles)


def two_level_wilks2005(*, key: Array, n_cycles: int = 1280) -> Twin:
    """Two levels, 8 slow and 256 fast sites; the slow ones observed every 0.05, R = 0.1 I.

    The model is that of Wilks (2005), F = 20; the observations are those of
    DAPPER's `mods/LorenzUV/wilks05.py`. The score is that of the whole state.
    """
    require.count(n_cycles=n_cycles)
    forward = Lorenz96TwoLevelForward(K=8, J=32, F=20.0, dt=0.005)
    return twin(
        forward,
        key=key,
        start=start_on_ring(forward),
        operator=LinearObs(np.eye(8, forward.D)),
        error=0.1**0.5,
        T_assim=10 * n_cycles,
        T_total=10 * n_cycles,
        obs_every=10,
        spin_up=2000,
        statistics=climatology_l96_2l(forward),
    )


def cycled_rmse(found: Cycle, problem: Twin, burn_in: int) -> Float[Array, ""]:
    """The score of the published tables: RMSE over space, averaged over the analyses.

    Of the states `x0` at the first times of the windows, without the first `burn_in`.
    NaN if the cycle has diverged. Raises ValueError if nothing is left to average.
    """
    require.is_a(Cycle, "what cycle(...) returns", found=found)
    require.is_a(Twin, "a Twin, as generators and twin(...) return", problem=problem)
    require.count(0, burn_in=burn_in)
    states = found.analyses.x0
    if burn_in >= len(states):
        raise ValueError(f"burn_in={burn_in}: pass less than the {len(states)} windows there are.")
    errors = states - problem.truth[found.starts]
    return jnp.sqrt(jnp.mean(errors**2, axis=-1))[burn_in:].mean()


class Agreement(NamedTuple):
    """Scores of several seeds beside a printed one.

    `mean` with its 95 % interval `low` to `high`; `allowed` is the largest difference that
    rounding and sampling explain; `agrees` says whether the difference is smaller.
    """

    mean: float
    low: float
    high: float
    printed: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """True if rounding and sampling explain the difference."""
        return bool(abs(self.mean - self.printed) <= self.allowed)


def agreement(
    scores: Float[Array | np.ndarray, " n"],
    printed: float,
    digits: int = 2,
    level: float = 0.95,
    length: float = 1.0,
) -> Agreement:
    """Whether `scores` of n seeds agree with one that was `printed` with `digits` decimals.

    The printed score is taken as that of one run like ours, but `length` times as long, so
    with the variance s^2 / length if s^2 is that of our runs: the difference of the two then
    has the variance s^2 (1 / length + 1 / n), and Student's t with n - 1 degrees of freedom
    gives what sampling explains at the given `level`. Rounding adds half a unit of the last
    digit. Raises ValueError for fewer than two scores, or one that is not
    finite: a diverged run agrees with nothing.
    """
    scores = np.asarray(scores, dtype=float)
    require.shape(("n",), scores=scores)
    if len(scores) < 2:
        raise ValueError(f"scores has {len(scores)} entry: pass those of two seeds or more.")
    if not np.all(np.isfinite(scores)):
        raise ValueError("scores holds NaN or infinity, of runs that diverged: leave none in.")
    require.count(0, digits=digits)
    require.positive(length=length)
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: pass a share between 0 and 1, such as 0.95.")
    from scipy.stats import t

    n, spread = len(scores), scores.std(ddof=1)
    quantile = t.ppf((1 + level) / 2, n - 1)
    half = quantile * spread / np.sqrt(n)
    mean = scores.mean()
    allowed = quantile * spread * np.sqrt(1 / length + 1 / n) + 0.5 * 10.0**-digits
    return Agreement(*map(float, (mean, mean - half, mean + half, printed, allowed)))
