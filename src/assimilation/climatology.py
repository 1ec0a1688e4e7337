"""Long free runs, and the mean and covariance of the states they visit."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import checks


class Ring(NamedTuple):
    """How a state vector lies on a ring: `n_sites` sites, `per_site` entries each.

    `per_site` lists the entries that each site owns in the consecutive blocks of the
    state: (1,) for Lorenz-96, (1, J) for the two-level system.
    """

    n_sites: int
    per_site: tuple[int, ...]

    def by_site(self) -> np.ndarray:
        """State indices grouped by site, shape (n_sites, entries per site)."""
        blocks, start = [], 0
        for size in self.per_site:
            stop = start + self.n_sites * size
            blocks.append(np.arange(start, stop).reshape(self.n_sites, size))
            start = stop
        return np.concatenate(blocks, axis=1)


class Climatology(NamedTuple):
    """Mean (D,), covariance (D, D) and the samples (n, D) that they came from."""

    mean: np.ndarray
    covariance: np.ndarray
    samples: np.ndarray

    @property
    def std(self) -> float:
        """Root of the mean variance: the RMSE of the climatological mean."""
        return float(np.sqrt(np.mean(np.diag(self.covariance))))


def spun_up(forward: Any, x0: Float[Array, " D"], n_steps: int) -> Float[Array, " D"]:
    """The state `n_steps` steps after `x0`, without keeping those between."""
    return jax.lax.fori_loop(0, n_steps, lambda _, state: forward.step(state, forward.dt), x0)


@cache
def climatology(
    forward: Any,
    start: Callable[[Any, Array], Float[Array, " D"]],
    ring: Ring | None = None,
    n_runs: int = 128,
    n_spin_up: int = 2000,
    n_samples: int = 100,
    every: int = 40,
) -> Climatology:
    """Statistics of a model's attractor, from `n_runs` free runs.

    `start(forward, key)` gives a state (D,) to spin up from. Each run is spun up for
    `n_spin_up` steps, then sampled `n_samples` times, `every` steps apart. On a `ring`
    every rotation of a state is as likely as the state itself, so mean and covariance
    are averaged over all rotations. The arguments must be hashable: the answer is
    computed once for each set of them, in a fixed random order.

    Raises TypeError if `forward` is not a forward model, ValueError for counts below
    one and FloatingPointError if the free runs overflow.
    """
    checks.forward_model(forward)
    checks.count(n_runs=n_runs, n_samples=n_samples, every=every)
    checks.count(0, n_spin_up=n_spin_up)

    def run(key):
        state = spun_up(forward, start(forward, key), n_spin_up)

        def later(state, _):
            return (state := spun_up(forward, state, every)), state

        return jax.lax.scan(later, state, length=n_samples)[1]

    # A generator may be traced by jit or vmap; its background is a constant all the same.
    with jax.core.eval_context():
        keys = jax.random.split(jax.random.key(1996), n_runs)
        samples = np.asarray(jax.jit(jax.vmap(run))(keys))
    samples = samples.reshape(-1, samples.shape[-1])
    if not np.all(np.isfinite(samples)):
        raise FloatingPointError(
            f"the free runs of {type(forward).__name__} overflowed: pass a smaller "
            f"time step than dt={forward.dt}, or other parameters."
        )
    mean = samples.mean(axis=0, dtype=np.float64)
    covariance = np.cov(samples, rowvar=False, dtype=np.float64)
    if ring is not None:
        mean, covariance = symmetrised(samples, ring)
    return Climatology(mean, covariance, samples)


def symmetrised(samples: np.ndarray, ring: Ring) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of samples (n, D), averaged over all rotations."""
    index = ring.by_site()
    order = index.ravel()
    values = samples[:, index].astype(np.float64)
    mean = values.mean(axis=(0, 1))
    anomalies = (values - mean).reshape(len(samples), -1)
    by_site = anomalies.T @ anomalies / len(samples)
    # Rotating the sites by s moves both axes of the covariance together.
    size = index.shape[1]
    blocks = by_site.reshape(ring.n_sites, size, ring.n_sites, size)
    blocks = sum(np.roll(blocks, (s, s), axis=(0, 2)) for s in range(ring.n_sites))
    covariance = np.empty_like(by_site)
    covariance[np.ix_(order, order)] = blocks.reshape(by_site.shape) / ring.n_sites
    full_mean = np.empty(index.size)
    full_mean[index] = mean
    return full_mean, covariance


def background_state(values: np.ndarray) -> Array:
    """A climatological array as a JAX constant of the default float type."""
    return jnp.asarray(values, dtype=jnp.result_type(float))
