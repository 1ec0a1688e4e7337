"""Scores against the truth: of an estimate, and of the uncertainty stated with it.

Samples have their members on the first axis, (n, ...); the truth has the rest, (...).
Members and truth should be draws from one distribution; each score below says how that
shows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation import require


def rmse(
    estimate: Float[Array | np.ndarray, "..."],
    truth: Float[Array | np.ndarray, "..."],
    axis: int | tuple[int, ...] | None = None,
) -> Float[Array, "..."]:
    """Root mean square error over `axis` (None: over everything).

    Raises ValueError if the shapes differ. NaN in, NaN out.
    """
    require.shape(jnp.shape(truth), estimate=estimate)
    return jnp.sqrt(jnp.mean((estimate - truth) ** 2, axis=axis))


def valid_time(
    trace: Float[Array, " T"], start: int, dt: float, threshold: float
) -> Float[Array, ""]:
    """Time after step `start` at which an RMSE trace first exceeds `threshold`.

    In the units of `dt`. A trace that never exceeds it gives the whole forecast time,
    which is then a lower bound; one that is not finite counts as exceeding.
    """
    require.positive(dt=dt, threshold=threshold)
    require.count(0, start=start)
    require.shape(("T",), trace=trace)
    if start >= trace.size:
        raise ValueError(f"start={start}: pass a step of the trace, at most {trace.size - 1}.")
    forecast = trace[start:]
    lost = ~(forecast <= threshold)
    first = jnp.where(lost.any(), jnp.argmax(lost), forecast.size - 1)
    return first * dt


def _check(samples, truth, fewest):
    require.shape(("n", *jnp.shape(truth)), samples=samples)
    if samples.shape[0] < fewest:
        raise ValueError(f"samples has {samples.shape[0]} members: pass {fewest} or more.")


def crps(samples: Float[Array, "n ..."], truth: Float[Array, "..."]) -> Float[Array, "..."]:
    """Continuous ranked probability score of each entry, without bias for small samples.

    mean |X - x| - mean |X - X'| / 2 over pairs of different members; Gneiting & Raftery
    (2007, eq. 21), in the units of the state. Sorting makes it n log n. Raises ValueError
    for fewer than two members.
    """
    _check(samples, truth, 2)
    n = samples.shape[0]
    ordered = jnp.sort(samples, axis=0)
    # A pair's distance counts each gap between neighbours once for each pair across it.
    weight = (2 * jnp.arange(1, n + 1, dtype=ordered.dtype) - n - 1) / (n * (n - 1))
    half_distance = jnp.tensordot(weight, ordered, axes=1)
    return jnp.mean(jnp.abs(samples - truth), axis=0) - half_distance


def energy_score(
    samples: Float[Array, "n ... D"], truth: Float[Array, "... D"]
) -> Float[Array, "..."]:
    """Energy score of each state (its last axis), without bias for small samples.

    mean |X - x| - mean |X - X'| / 2 over pairs of different members, with Euclidean norms:
    the CRPS where D is 1 (Gneiting & Raftery 2007). In the units of the state; n^2 distances,
    a member at a time. Raises ValueError for fewer than two members.
    """
    _check(samples, truth, 2)
    n = samples.shape[0]
    distances = jax.lax.map(lambda x: jnp.linalg.norm(samples - x, axis=-1).sum(axis=0), samples)
    half_distance = distances.sum(axis=0) / (2 * n * (n - 1))
    return jnp.mean(jnp.linalg.norm(samples - truth, axis=-1), axis=0) - half_distance


def spread_error_ratio(samples: Float[Array, "n ..."], truth: Float[Array, "..."]) -> float:
    """Spread over error, 1 for a reliable ensemble of any size.

    The root of (n + 1) / n times the mean variance of the members, over the RMSE of
    their mean; Fortin et al. (2014, eq. 15). Below 1: too narrow.
    """
    _check(samples, truth, 2)
    n = samples.shape[0]
    variance = jnp.mean(jnp.var(samples, axis=0, ddof=1))
    error = jnp.mean((samples.mean(axis=0) - truth) ** 2)
    return float(jnp.sqrt((n + 1) / n * variance / error))


def coverage(
    mean: Float[Array, "..."],
    std: Float[Array, "..."],
    truth: Float[Array, "..."],
    n_std: float = 1.0,
) -> float:
    """Share of entries with the truth within `n_std` standard deviations of the mean.

    0.683 for one and 0.954 for two, if the distribution is normal and right.
    """
    require.shape(jnp.shape(truth), mean=mean, std=std)
    require.positive(n_std=n_std)
    if np.any(np.asarray(std) < 0):
        raise ValueError("std holds values below zero: pass standard deviations.")
    return float(jnp.mean(jnp.abs(truth - mean) <= n_std * std))


def ranks(samples: Float[Array, "n ..."], truth: Float[Array, "..."]) -> Int[Array, "..."]:
    """How many members lie below the truth: 0 to n, all equally likely if reliable.

    On draws of truth and data from the prior, these are the ranks of simulation-based
    calibration (Talts et al. 2018); in verification, those of Hamill (2001).
    """
    _check(samples, truth, 1)
    return jnp.sum(samples < truth, axis=0)


class RankHistogram(NamedTuple):
    """Share of ranks in each bin, and the band that holds `level` of flat histograms."""

    frequency: Float[np.ndarray, " bins"]
    low: float
    high: float

    @property
    def inside(self) -> float:
        """Share of the bins that lie within the band."""
        return float(np.mean((self.frequency >= self.low) & (self.frequency <= self.high)))


def rank_histogram(
    ranks: Int[Array, "..."],
    n_members: int,
    n_bins: int,
    n_independent: int | None = None,
    level: float = 0.99,
) -> RankHistogram:
    """Histogram of `ranks` in `n_bins` bins, with its sampling band.

    `n_members + 1` is a multiple of `n_bins`, so that all bins hold equally many ranks.
    The band is the central interval of a binomial count in one bin, corrected for
    looking at all of them (Bonferroni): a flat histogram is inside in every bin with
    probability `level` or more. Entries of one window share their errors, so that far
    fewer draws are independent than there are ranks: pass that number as
    `n_independent`, or leave None if every rank is from a draw of its own.
    """
    require.count(n_members=n_members, n_bins=n_bins)
    if (n_members + 1) % n_bins:
        raise ValueError(
            f"n_bins={n_bins} does not divide n_members + 1 = {n_members + 1}: pass one "
            "that does, so that all bins are alike."
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: pass a share between 0 and 1, such as 0.99.")
    ranks = np.asarray(ranks).ravel()
    if ranks.size == 0 or ranks.min() < 0 or ranks.max() > n_members:
        raise ValueError(f"ranks must lie in 0 to n_members={n_members}, and there must be some.")
    n = ranks.size if n_independent is None else n_independent
    require.count(n_independent=n)
    counts = np.bincount(ranks * n_bins // (n_members + 1), minlength=n_bins)
    tail = (1 - level) / (2 * n_bins)
    from scipy.stats import binom

    low, high = binom.ppf([tail, 1 - tail], n, 1 / n_bins) / n
    return RankHistogram(counts / ranks.size, float(low), float(high))
