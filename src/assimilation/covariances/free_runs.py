"""Long free runs, and the mean and covariance of the states they visit."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.ring import Ring, symmetrised
from assimilation.models.integrate import ForwardModel, spun_up


class Climatology(NamedTuple):
    """Mean (D,), covariance (D, D) and the samples (n, D) that they came from."""

    mean: np.ndarray
    covariance: np.ndarray
    samples: np.ndarray

    @property
    def std(self) -> float:
        """Root of the mean variance: the RMSE of the climatological mean."""
        return float(np.sqrt(np.mean(np.diag(self.covariance))))


_KNOWN: dict[tuple, Climatology] = {}


def climatology(
    forward: ForwardModel,
    start: Callable[[Array], Float[Array, " D"]],
    ring: Ring | None = None,
    n_runs: int = 128,
    n_spin_up: int = 2000,
    n_samples: int = 100,
    every: int = 40,
) -> Climatology:
    """Statistics of a model's attractor, from `n_runs` free runs.

    `start(key)` gives a state (D,) to spin up from. Each run is spun up for `n_spin_up`
    steps, then sampled `n_samples` times, `every` steps apart. On a `ring` every rotation
    of a state is as likely as the state itself, so mean and covariance are averaged over
    all rotations. The answer is computed once for each set of arguments, parameter
    values and float type, in a fixed random order.

    Raises TypeError if `forward` is not a forward model or its parameters are traced,
    ValueError for counts below one and FloatingPointError if the free runs overflow.
    """
    require.forward_model(forward)
    require.start(start)
    if ring is not None:
        require.is_a(Ring, "Ring(n_sites, per_site), or None", ring=ring)
    require.count(n_runs=n_runs, n_samples=n_samples, every=every)
    require.count(0, n_spin_up=n_spin_up)
    if not require.is_concrete((forward, start)):
        raise TypeError(
            "the parameters of forward are traced, and a climatology needs their values: "
            "compute climatology(...) before, and pass it to twin as statistics=."
        )
    counts = (n_runs, n_spin_up, n_samples, every)
    leaves, structure = jax.tree.flatten((forward, start))
    if not all(callable(leaf) or eqx.is_array_like(leaf) for leaf in leaves):
        # JAX cannot see into a plain object, whose parameters may have changed.
        return _free_runs(forward, start, ring, *counts)
    values = tuple(leaf if callable(leaf) else _contents(leaf) for leaf in leaves)
    key = (structure, values, ring, counts, jnp.result_type(float))
    if key not in _KNOWN:
        _KNOWN[key] = _free_runs(forward, start, ring, *counts)
    return _KNOWN[key]


def _contents(leaf) -> tuple:
    """What tells the value of a number or an array from others, in the current float type."""
    array = np.asarray(leaf)
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return array.shape, array.dtype.str, array.tobytes()


def _free_runs(forward, start, ring, n_runs, n_spin_up, n_samples, every) -> Climatology:
    def run(key):
        first = start(key)
        require.shape(("D",), **{"what start(key) gives": first})
        state = spun_up(forward, first, n_spin_up)

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


def constant(values: np.ndarray) -> Array:
    """A climatological array as a JAX constant of the default float type."""
    return jnp.asarray(values, dtype=jnp.result_type(float))
