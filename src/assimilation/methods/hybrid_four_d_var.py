"""Hybrid 4DVar: the background covariance is partly that of an ensemble beside it."""

from typing import NamedTuple

import equinox as eqx
import jax
import lineax as lx
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.covariances.hybrid import HybridCovariance
from assimilation.methods.analysis import Analysis
from assimilation.methods.ensemble_filter import Members
from assimilation.methods.ensemble_kalman import EnsembleKalman
from assimilation.methods.four_d_var import FourDVar
from assimilation.methods.method import window_key
from assimilation.models.integrate import Parameter, spun_up
from assimilation.observations.window import Observations


class Hybrid(NamedTuple):
    """The background of 4DVar (D,), and the members (m, D) that tell its errors."""

    mean: Float[Array, " D"]
    members: Float[Array, "m D"]


class HybridFourDVar(eqx.Module):
    """4DVar whose B is a mixture of a static covariance and that of an ensemble.

    `method` is the 4DVar and has the static B; `ensemble` is an ensemble Kalman filter whose
    members say what the errors of the day are, with a `weight` between 0 and 1. Beyond the
    reach of the `correlation` members are not believed (see `HybridCovariance`). Both see
    the same observations; then the members are moved so that their mean at the window's
    first time is the analysis (Buehner 2005; Zhang, Zhang & Hansen 2009).

    Where members stand after the filter, at the last observed time, they are centred on
    the run from the analysis.
    """

    method: FourDVar
    ensemble: EnsembleKalman
    weight: Parameter = 0.5
    correlation: lx.AbstractLinearOperator | None = None

    def __check_init__(self):
        require.is_a(FourDVar, "a StrongFourDVar or an IncrementalFourDVar", method=self.method)
        require.is_a(
            EnsembleKalman,
            "an ensemble Kalman filter, such as LETKF.of(problem, ...)",
            ensemble=self.ensemble,
        )
        if require.is_concrete(self.weight) and not 0 <= self.weight <= 1:
            raise ValueError(f"weight={self.weight!r}: pass a share between 0 and 1.")

    def initialise(self, key: Array) -> Hybrid:
        """The background, and draws from it."""
        members = self.ensemble.initialise(key).states
        return Hybrid(self.method.prior_mean, members)

    @eqx.filter_jit
    def analyse(self, prior: Hybrid, observations: Observations, key: Array) -> Analysis:
        """One window: 4DVar from its first time, and the members where the filter ends."""
        B = HybridCovariance.from_members(
            self.method.prior_cov_op, prior.members, self.weight, self.correlation
        )
        method = eqx.tree_at(lambda m: (m.prior_mean, m.prior_cov_op), self.method, (prior.mean, B))
        found = method.solve(observations)
        filtered = self.ensemble.analyse(Members.alike(prior.members), observations, key)
        last = len(filtered.states) - 1
        states = found.trajectory(self.method.forward, last)
        members = filtered.members + states[-1] - filtered.members.mean(axis=0)
        runs = found.diagnostics.model_runs + filtered.diagnostics.model_runs
        return Analysis(
            found.x0,
            states,
            members=members,
            diagnostics=found.diagnostics._replace(model_runs=runs),
        )

    def predict(self, analysis: Analysis, n_steps: int | Int[Array, ""], key: Array) -> Hybrid:
        """The run from the analysis, and the members, `n_steps` steps after the first time."""
        left = n_steps - (len(analysis.states) - 1)
        members = jax.lax.fori_loop(
            0,
            left,
            lambda t, x: self.ensemble.advance(x, jax.random.fold_in(key, t), False),
            analysis.members,
        )
        return Hybrid(spun_up(self.method.forward, analysis.states[-1], left), members)

    @eqx.filter_jit
    def solve(self, observations: Observations) -> Analysis:
        """The analysis of one window, with members drawn from the background."""
        k_start, k_window = jax.random.split(window_key(self.method.key, observations.values))
        return self.analyse(self.initialise(k_start), observations, k_window)
