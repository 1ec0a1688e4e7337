"""What methods with a background have in common: how they are built, checked and called."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from assimilation import require
from assimilation.methods.analysis import Analysis, Diagnostics
from assimilation.methods.levenberg_marquardt import Minimum
from assimilation.observations.batch import Batch1D
from assimilation.observations.operators import check_operator
from assimilation.observations.window import Observations, error_array
from assimilation.problems import Problem


class Method(eqx.Module):
    """A method with a background `prior_mean` of covariance `prior_cov_op`."""

    def __check_init__(self):
        if self.obs_op is not None:
            check_operator(self.obs_op, "obs_op")
        if self.obs_cov_op is not None:
            require.operator(obs_cov_op=self.obs_cov_op)
            require.positive_definite("obs_cov_op", self.obs_cov_op)

    @abstractmethod
    def solve(self, observations: Observations) -> Analysis:
        """The analysis of one window; under `jit` and `vmap` too."""

    @classmethod
    def of(cls, problem: Problem, **settings: Any) -> "Method":
        """The method for a problem, with its model and background; `settings` come first."""
        require.is_a(Problem, "a Problem, or what a generator returns", problem=problem)
        names = {field.name for field in fields(cls)}
        parts = {name: part for name, part in problem.parts().items() if name in names}
        return cls(**{**parts, **settings})

    def __call__(self, batch: Batch1D) -> Any:
        """The analyses of a batch: initial states (B, D), or what the method says instead."""
        require.is_a(Batch1D, "a Batch1D, such as assim_batch(problem)", batch=batch)
        for name in ("obs_op", "obs_cov_op"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is None: pass {name}=... to call a method on a batch.")
        times = batch.observed_times()
        return self.answer(_on_each_window(self, batch, times))

    def answer(self, analysis: Analysis) -> Any:
        """What a call on a batch returns of its analyses."""
        return analysis.x0

    def check_background(self) -> None:
        """Raise unless background and covariance fit together, on a state (D,)."""
        require.is_a(jax.Array | np.ndarray, "an array of shape (D,)", prior_mean=self.prior_mean)
        require.shape(("D",), prior_mean=self.prior_mean)
        require.finite(prior_mean=self.prior_mean)
        require.covariance("prior_cov_op", self.prior_cov_op, jnp.shape(self.prior_mean))
        require.positive_definite("prior_cov_op", self.prior_cov_op)

    def check_observations(self, observations: Observations) -> None:
        """Raise unless the observations are of states such as this method's."""
        advice = "Observations(times, values, operator, error), such as problem.observations"
        require.is_a(Observations, advice, observations=observations)
        observations.check_state(jnp.shape(self.prior_mean)[-1])


@eqx.filter_jit
def _on_each_window(method: Method, batch: Batch1D, times: tuple[int, ...]) -> Analysis:
    _, n_time, n_values = batch.input.shape
    rows = jnp.array(times)
    error = error_array(method.obs_cov_op, n_time, n_values)[rows]

    def one(values, mask):
        seen = Observations(
            times, values[rows], method.obs_op, error, mask[rows], T_assim=n_time - 1
        )
        return method.solve(seen)

    return each(one, batch.input, batch.mask)


def each(function: Callable[..., Any], *arrays: PyTree[Array]) -> Any:
    """Apply `function` to each slice along the first axis of `arrays`.

    On an accelerator all slices go side by side (`vmap`). On a CPU they go one after
    the other: iterative methods then stop when their own slice is done, and one slice
    fits the processor's cache, which together is several times faster.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda slices: function(*slices), arrays)
    return jax.vmap(function)(*arrays)


def window_key(key: Array, values: Float[Array, "..."]) -> Array:
    """A key for one window, from a key for all: other observations, other draws."""
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    return jax.random.fold_in(key, jnp.sum(bits, dtype=jnp.uint32))


def diagnostics(found: Minimum, observations: Observations) -> Diagnostics:
    """What a method reports about its minimisation."""
    return Diagnostics(
        found.cost,
        found.history,
        found.iterations,
        found.converged,
        2 * found.cost / observations.mask.sum(),
        found.runs,
    )
