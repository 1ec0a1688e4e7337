"""The one record that every method answers with."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from assimilation import require
from assimilation.models.integrate import ForwardModel, forced_trajectory, free_forecast


class Diagnostics(NamedTuple):
    """How a minimisation went.

    `cost_history` holds the cost before the first iteration and after each one of the
    minimisation that gave the analysis, constant once it ended; `iterations` counts all
    that were made. `normalised_cost` is 2 J / n_obs: near 1 if B and R are right and the
    minimum is the global one. `model_runs` counts the work in integrations of the model
    over the whole window; a tangent-linear run counts as one, an adjoint run too.
    `converged` is False where the iterations ran out.
    """

    cost: Float[Array, ""]
    cost_history: Float[Array, " n_history"]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    normalised_cost: Float[Array, ""]
    model_runs: Float[Array, ""]


class Analysis(NamedTuple):
    """What a method believes about one window.

    `x0` (D,) is the state at the window's first time. `states` (T, D) is the trajectory
    from there, where the method gives one itself and not only through a model; `etas`
    (T_assim, D) are the model errors of weak 4DVar. What is known beyond one state stands at
    the last of `states`, or at the first time where there are none: `members` (m, D), with
    `weights` (m,) unless all count alike, and a `covariance` (D, D). `carry` is what a method
    hands on to its own next window.
    """

    x0: Float[Array, " D"]
    states: Float[Array, "T D"] | None = None
    etas: Float[Array, "T_assim D"] | None = None
    members: Float[Array, "m D"] | None = None
    diagnostics: PyTree = None
    weights: Float[Array, " m"] | None = None
    covariance: Float[Array, "D D"] | None = None
    carry: PyTree = None

    @classmethod
    def of(cls, states: Float[Array, "T D"]) -> "Analysis":
        """The record of a trajectory (T, D), such as a climatological mean held constant."""
        require.shape(("T", "D"), states=states)
        return cls(states[0], states)

    def trajectory(self, forward: ForwardModel, n_steps: int) -> Float[Array, "T D"]:
        """The best estimate of the states at steps 0 to `n_steps`, shape (n_steps + 1, D).

        Given states are kept, and a free forecast goes on from the last of them. An
        initial state is run through the model, with its model errors if there are any;
        for members it is the mean of their runs.
        """
        require.count(0, n_steps=n_steps)
        if self.members is not None:
            known = self.x0[None] if self.states is None else self.states
            runs = self.ensemble(forward, max(0, n_steps + 1 - len(known)))
            mean = jnp.average(runs, axis=0, weights=self.weights)
            return jnp.concatenate([known, mean[1:]])[: n_steps + 1]
        if self.states is not None:
            known = self.states[: n_steps + 1]
        elif self.etas is not None:
            known = forced_trajectory(forward, self.x0, self.etas)[: n_steps + 1]
        else:
            known = self.x0[None]
        rest = free_forecast(forward, known[-1], n_steps + 1 - len(known))
        return jnp.concatenate([known, rest[1:]])

    def ensemble(self, forward: ForwardModel, n_steps: int) -> Float[Array, "m T D"]:
        """The runs (m, n_steps + 1, D) of all members, from where they stand.

        Raises ValueError without members.
        """
        if self.members is None:
            raise ValueError(
                "the analysis has no members: pass one of an ensemble, such as ETKF gives."
            )
        return jax.vmap(lambda x0: free_forecast(forward, x0, n_steps))(self.members)
