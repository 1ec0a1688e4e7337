"""Products with the linearised window and its adjoint, by runs of the model alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.methods.window_cost import WindowCost
from assimilation.observations.operators import Time


class Run(NamedTuple):
    """One run of the model over a window: the point to linearise around."""

    cost: Float[Array, ""]
    gradient: Float[Array, " n"]
    states: Float[Array, "T D"]


class LinearisedWindow(NamedTuple):
    """A window linearised around the `states` of one run: A and A^T as sweeps.

    A = R^{-1/2} H' L takes a change of the control to a change of the weighted
    departures (rows, N). Only the states of the run are kept (memory T D); each sweep
    linearises the model anew at every one of them.
    """

    window: WindowCost
    states: Float[Array, "T D"]
    last: Time

    @classmethod
    def around(cls, window: WindowCost, chi: Float[Array, " n"], last: Time) -> Run:
        """Cost, gradient and states of the run from `chi`: no matrix is formed."""
        increment, etas = window.increment(chi)
        advance = window.step(etas)
        T = window.observations.T_assim + 1
        states = jnp.zeros((T, increment.size), increment.dtype)
        states = states.at[0].set(window.prior_mean + increment)
        states = jax.lax.fori_loop(
            0, window.times[last], lambda t, s: s.at[t + 1].set(advance(t, s[t])), states
        )
        rows = jnp.arange(len(window.times))
        departures = jax.vmap(window.departure)(rows, states[window.times])
        departures = jnp.where((rows <= last)[:, None], departures, 0)
        cost = 0.5 * chi @ chi + 0.5 * jnp.sum(departures**2)
        return Run(cost, chi + cls(window, states, last).adjoint(departures), states)

    def forward(self, change: Float[Array, " n"]) -> Float[Array, "rows N"]:
        """A times a change of the control: the tangent-linear model, forwards."""
        window = self.window
        dx, etas = window.increment(change)

        def step(t, dx):
            dx = jax.jvp(lambda x: window.step(None)(t, x), (self.states[t],), (dx,))[1]
            return dx if etas is None else dx + etas[t]

        def row(i, carry):
            dx, out = carry
            dx = window.between(i, step, dx)
            x = self.states[window.times[i]]
            return dx, out.at[i].set(jax.jvp(lambda x: window.departure(i, x), (x,), (dx,))[1])

        out = jnp.zeros_like(window.observations.values)
        return jax.lax.fori_loop(0, self.last + 1, row, (dx, out))[1]

    def adjoint(self, departures: Float[Array, "rows N"]) -> Float[Array, " n"]:
        """A^T times weighted departures: the adjoint model, backwards in time."""
        window, times = self.window, self.window.times

        def row(back, carry):
            i = self.last - back
            sensitivity, to_errors = carry
            sensitivity = sensitivity + self.seen(i, departures[i])
            first = jnp.where(i > 0, times[i - 1], 0)

            def step(k, carry):
                t = times[i] - 1 - k
                sensitivity, to_errors = carry
                if to_errors is not None:
                    to_errors = to_errors.at[t].set(sensitivity)
                pull = jax.vjp(lambda x: window.step(None)(t, x), self.states[t])[1]
                return pull(sensitivity)[0], to_errors

            return jax.lax.fori_loop(0, times[i] - first, step, (sensitivity, to_errors))

        nothing = jnp.zeros_like(self.states[0])
        to_errors = None if window.error_root is None else jnp.zeros_like(self.states[1:])
        start = (nothing, to_errors)
        sensitivity, to_errors = jax.lax.fori_loop(0, self.last + 1, row, start)
        to_control = window.root.T.mv(sensitivity).ravel()
        if to_errors is None:
            return to_control
        return jnp.concatenate([to_control, window.error_root.T.mv(to_errors).ravel()])

    def seen(self, i: Time, departure: Float[Array, " N"]) -> Float[Array, " D"]:
        """H^T R^{-T/2} times the departure (N,) of one row.

        Where the operator is not differentiable at a missing value, the adjoint of that
        value is zero times infinity, which is not zero and spreads over the state. Forwards
        the two stay apart: then the state's entries are taken one by one.
        """
        x = self.states[self.window.times[i]]
        pull = jax.vjp(lambda x: self.window.departure(i, x), x)[1]
        together = pull(departure)[0]

        def one_by_one():
            def entry(k):
                unit = jnp.zeros_like(x).at[k].set(1)
                return jax.jvp(lambda x: self.window.departure(i, x), (x,), (unit,))[1] @ departure

            return jax.lax.map(entry, jnp.arange(x.size))

        return jax.lax.cond(jnp.isfinite(together).all(), lambda: together, one_by_one)

    def hessian(self, change: Float[Array, " n"]) -> Float[Array, " n"]:
        """(I + A^T A) times a change of the control: one forward and one backward sweep."""
        return change + self.adjoint(self.forward(change))
