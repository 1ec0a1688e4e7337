"""The 4DVar cost of one window, and the sweeps that linearise it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Int

from assimilation.observations import ObsOperator
from assimilation.solvers import NormalEquations, finite_or_inf

End = Int[Array, ""] | int


class WindowCost(NamedTuple):
    """The 4DVar cost of one window, in control space and up to a chosen time.

    J(chi) = 1/2 |chi|^2 + 1/2 sum_t |R^{-1/2} (h(x_t) - y_t)|^2, where x_0 = x_b + L chi
    and x_{t+1} = M(x_t); the sum runs over the observed times t <= `end`.

    With an `error_root` Q^{1/2}, on arrays (T - 1, D), the control is [chi_0, chi_eta]
    and the model has errors: x_{t+1} = M(x_t) + eta_t with eta = Q^{1/2} chi_eta.
    """

    forward: Any
    obs_op: ObsOperator
    prior_mean: Float[Array, " D"]
    root: lx.AbstractLinearOperator
    obs: Float[Array, "T N"]
    weights: Float[Array, "T N"]
    error_root: lx.AbstractLinearOperator | None = None

    @property
    def n_controls(self) -> int:
        """Length of the control vector."""
        errors = 0 if self.error_root is None else self.error_root.in_size()
        return self.root.in_size() + errors

    def perturbation(self, chi: Float[Array, " n"]) -> tuple[Array, Array | None]:
        """L chi_0 (D,), and the model errors Q^{1/2} chi_eta (T - 1, D) or None."""
        size = self.root.in_size()
        state = self.root.mv(chi[:size].reshape(self.root.in_structure().shape))
        if self.error_root is None:
            return state, None
        controls = chi[size:].reshape(self.error_root.in_structure().shape)
        return state, self.error_root.mv(controls)

    def initial_state(self, chi: Float[Array, " n"]) -> Float[Array, " D"]:
        """x_0 = x_b + L chi."""
        return self.prior_mean + self.perturbation(chi)[0]

    def control_of(self, x0: Float[Array, " D"]) -> Float[Array, " n"]:
        """The control chi whose initial state is `x0`: the solution of L chi = x_0 - x_b."""
        solver = lx.AutoLinearSolver(well_posed=None)
        return lx.linear_solve(self.root, x0 - self.prior_mean, solver).value.ravel()

    def cost(self, chi: Float[Array, " n"], end: End) -> Float[Array, ""]:
        """J(chi), or infinity if the model overflows."""

        def at(time, state):
            departure = self.weights[time] * (self.obs_op(state) - self.obs[time])
            return 0.5 * departure @ departure

        def step(time, carry):
            state, cost = carry
            state = self._step(state) + (0 if etas is None else etas[time])
            return state, cost + at(time + 1, state)

        anomaly, etas = self.perturbation(chi)
        state = self.prior_mean + anomaly
        start = (state, 0.5 * chi @ chi + at(0, state))
        return finite_or_inf(jax.lax.fori_loop(0, end, step, start)[1])

    def linearise(self, chi: Float[Array, " n"], end: End) -> NormalEquations:
        """Cost, gradient and dense Gauss-Newton Hessian of the strong cost.

        Carries the sensitivities V_t = dx_t/dchi (D, n) forward with the tangent-linear
        model, and adds (H V_t)^T R^{-1} (H V_t) at each time that has observations.
        """

        def add(time, state, V, sums):
            def observed(sums):
                expected, H = jax.linearize(self.obs_op, state)
                departure = self.weights[time] * (expected - self.obs[time])
                HV = jax.vmap(H, in_axes=-1, out_axes=-1)(V)
                HV = self.weights[time][:, None] * HV
                return NormalEquations(
                    sums.cost + 0.5 * departure @ departure,
                    sums.gradient + HV.T @ departure,
                    sums.hessian + HV.T @ HV,
                )

            seen = jnp.any(self.weights[time] > 0)
            return jax.lax.cond(seen, observed, lambda sums: sums, sums)

        def step(time, carry):
            state, V, sums = carry
            state, M = jax.linearize(self._step, state)
            V = jax.vmap(M, in_axes=-1, out_axes=-1)(V)
            return state, V, add(time + 1, state, V, sums)

        state, V = self.initial_state(chi), self.root.as_matrix()
        identity = jnp.eye(chi.size, dtype=chi.dtype)
        sums = add(0, state, V, NormalEquations(0.5 * chi @ chi, chi, identity))
        return jax.lax.fori_loop(0, end, step, (state, V, sums))[2]

    def run(self, chi: Float[Array, " n"], end: End) -> "Run":
        """Cost, gradient and states of the run from `chi`: no matrix is formed."""

        def step(time, states):
            state = self._step(states[time]) + (0 if etas is None else etas[time])
            return states.at[time + 1].set(state)

        anomaly, etas = self.perturbation(chi)
        states = jnp.zeros((self.obs.shape[0], anomaly.size), anomaly.dtype)
        states = states.at[0].set(self.prior_mean + anomaly)
        states = jax.lax.fori_loop(0, end, step, states)
        departures = self.weights * (jax.vmap(self.obs_op)(states) - self.obs)
        until = (jnp.arange(len(states)) <= end)[:, None]
        departures = jnp.where(until, departures, 0)
        cost = 0.5 * chi @ chi + 0.5 * jnp.sum(departures**2)
        return Run(cost, chi + Sweeps(self, states, end).adjoint(departures), states)

    def _step(self, state):
        return self.forward.step(state, self.forward.dt)


class Run(NamedTuple):
    """One run of the model over a window: the point to linearise around."""

    cost: Float[Array, ""]
    gradient: Float[Array, " n"]
    states: Float[Array, "T D"]


class Sweeps(NamedTuple):
    """A window linearised around the `states` of one run: A and A^T as sweeps.

    A = R^{-1/2} H' L takes a change of the control to a change of the weighted
    departures. Only the states of the run are kept (memory T D); each sweep linearises
    the model anew at every one of them.
    """

    window: WindowCost
    states: Float[Array, "T D"]
    end: End

    def forward(self, change: Float[Array, " n"]) -> Float[Array, "T N"]:
        """A times a change of the control: the tangent-linear model, forwards."""
        window = self.window

        def seen(time, dx):
            dy = jax.jvp(window.obs_op, (self.states[time],), (dx,))[1]
            return window.weights[time] * dy

        def step(time, carry):
            dx, out = carry
            dx = jax.jvp(window._step, (self.states[time],), (dx,))[1]
            dx = dx + (0 if etas is None else etas[time])
            return dx, out.at[time + 1].set(seen(time + 1, dx))

        dx, etas = window.perturbation(change)
        out = jnp.zeros_like(window.weights).at[0].set(seen(0, dx))
        return jax.lax.fori_loop(0, self.end, step, (dx, out))[1]

    def adjoint(self, departures: Float[Array, "T N"]) -> Float[Array, " n"]:
        """A^T times weighted departures: the adjoint model, backwards in time."""
        window = self.window

        def seen(time):
            weighted = window.weights[time] * departures[time]
            return jax.vjp(window.obs_op, self.states[time])[1](weighted)[0]

        def step(back, carry):
            time = self.end - 1 - back
            sensitivity, to_errors = carry
            if to_errors is not None:
                to_errors = to_errors.at[time].set(sensitivity)
            sensitivity = jax.vjp(window._step, self.states[time])[1](sensitivity)[0]
            return sensitivity + seen(time), to_errors

        to_errors = None if window.error_root is None else jnp.zeros_like(self.states[1:])
        start = (seen(self.end), to_errors)
        sensitivity, to_errors = jax.lax.fori_loop(0, self.end, step, start)
        to_control = window.root.T.mv(sensitivity).ravel()
        if to_errors is None:
            return to_control
        return jnp.concatenate([to_control, window.error_root.T.mv(to_errors).ravel()])

    def hessian(self, change: Float[Array, " n"]) -> Float[Array, " n"]:
        """(I + A^T A) times a change of the control: one forward and one backward sweep."""
        return change + self.adjoint(self.forward(change))
