"""4DVar cycled with windows that overlap: a fixed lag behind the newest observation."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.methods.analysis import Analysis
from assimilation.methods.four_d_var import FourDVar
from assimilation.models.integrate import spun_up
from assimilation.observations.window import Observations


class Lagged(NamedTuple):
    """The background (D,) at the first time of the long window, and its last observations."""

    mean: Float[Array, " D"]
    values: Float[Array, "lag N"]
    mask: Float[Array, "lag N"]


class LaggedFourDVar(eqx.Module):
    """4DVar that looks `lag` observed times back, moved on by one of them at a time.

    For windows of one observed time, `every` steps apart. The state is estimated
    `lag * every` steps before the newest observation, and its run to there is the analysis.
    With `all_of_window` each minimisation sees all observations since then, so each of them is
    used `lag` times (Bocquet & Sakov 2013); else only the newest, and each is used
    once. The background moves on with the model; B is that of `method`.
    """

    method: FourDVar
    lag: int = eqx.field(static=True)
    every: int = eqx.field(static=True)
    all_of_window: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        require.is_a(FourDVar, "a StrongFourDVar or an IncrementalFourDVar", method=self.method)
        require.count(lag=self.lag, every=self.every)

    def initialise(self, key: Array) -> Lagged:
        """The background, and nothing seen yet."""
        obs_op = self.method.obs_op
        if obs_op is None:
            raise ValueError("method.obs_op is None: pass a method of a problem, as of() makes it.")
        size = jax.eval_shape(obs_op, self.method.prior_mean, 0).shape[0]
        nothing = jnp.zeros((self.lag, size), self.method.prior_mean.dtype)
        return Lagged(self.method.prior_mean, nothing, nothing)

    @eqx.filter_jit
    def analyse(self, prior: Lagged, observations: Observations, key: Array) -> Analysis:
        """The state at the newest observed time; `carry` is what the next window needs."""
        if observations.times != (0,):
            raise ValueError(
                f"times={observations.times}: pass windows with one observed time at their "
                "beginning, as cycle(..., n_steps=None) makes them."
            )
        values = jnp.concatenate([prior.values[1:], observations.values])
        mask = jnp.concatenate([prior.mask[1:], observations.mask])
        seen = mask if self.all_of_window else mask.at[:-1].set(0)
        span = self.lag * self.every
        window = Observations(
            tuple(range(self.every, span + 1, self.every)),
            values,
            observations.operator,
            jnp.repeat(observations.error, self.lag, axis=0),
            seen,
            T_assim=span,
            start=observations.start - span,
        )
        found = eqx.tree_at(lambda m: m.prior_mean, self.method, prior.mean).solve(window)
        now = spun_up(self.method.forward, found.x0, span)
        return Analysis(now, diagnostics=found.diagnostics, carry=Lagged(found.x0, values, mask))

    def predict(self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array) -> Lagged:
        """The background `n_steps` steps later, and the observations."""
        mean = spun_up(self.method.forward, analysis.carry.mean, n_steps)
        return analysis.carry._replace(mean=mean)
