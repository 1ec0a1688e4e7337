"""Inflation that is estimated from the departures themselves."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from assimilation import require
from assimilation.methods.analysis import Analysis
from assimilation.methods.ensemble_filter import Members, departures
from assimilation.methods.ensemble_kalman import EnsembleKalman
from assimilation.observations.window import Observations


class Inflated(NamedTuple):
    """Members, and the factor that their variance is to be multiplied by."""

    members: Members
    factor: Float[Array, ""]


class AdaptiveInflation(eqx.Module):
    """An ensemble filter with a factor on its forecast variance that follows the departures.

    If the ensemble is right, E |d|^2 = tr(S S^T) / (m - 1) + N for weighted departures d of N
    values. So each time gives an estimate (|d|^2 - N) (m - 1) / tr(S S^T) of the factor, whose
    error has the variance 2 / N ((1 + b f) / b)^2 with b = tr(S S^T) / (m - 1) / N; it is mixed
    with the factor f known so far, whose error is taken to have the `variance` (Miyoshi 2011,
    here for the whole state at once). The smaller the `variance`, the slower.

    For windows of one observed time, as `cycle` makes them with `n_steps=None`.
    """

    method: EnsembleKalman
    variance: float | Float[Array, ""] = 0.04**2

    def __check_init__(self):
        require.is_a(EnsembleKalman, "an ensemble Kalman filter", method=self.method)
        require.positive(variance=self.variance)

    def initialise(self, key: Array) -> Inflated:
        """The members of the method, and a factor of one."""
        members = self.method.initialise(key)
        return Inflated(members, jnp.ones((), members.states.dtype))

    @eqx.filter_jit
    def analyse(self, prior: Inflated, observations: Observations, key: Array) -> Analysis:
        """The method's analysis of the inflated members; `carry` is the next factor."""
        if observations.times != (0,):
            raise ValueError(
                f"times={observations.times}: pass windows with one observed time at their "
                "beginning, as cycle(..., n_steps=None) makes them."
            )
        states, factor = prior.members.states, prior.factor
        seen = departures(states, observations, 0)
        departure, m = seen.mean(axis=0), len(states)
        there = observations.mask[0].sum()
        b = jnp.sum((seen - departure) ** 2) / (m - 1) / there
        estimate = (departure @ departure / there - 1) / b
        error = 2 / there * ((1 + b * factor) / b) ** 2
        gain = self.variance / (self.variance + error)
        known = there > 0
        factor = jnp.where(known, jnp.maximum(factor + gain * (estimate - factor), 0.1), factor)
        mean = states.mean(axis=0)
        inflated = mean + jnp.where(known, jnp.sqrt(factor), 1) * (states - mean)
        analysis = self.method.analyse(prior.members._replace(states=inflated), observations, key)
        return analysis._replace(carry=factor)

    def predict(
        self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array
    ) -> PyTree[Array]:
        """The members of the method and the factor, `n_steps` steps later."""
        return Inflated(self.method.predict(analysis, n_steps, key), analysis.carry)
