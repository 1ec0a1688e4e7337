"""The 4DVar cost of one window, in control space, and its linearisation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.methods.levenberg_marquardt import NormalEquations, finite_or_inf
from assimilation.models.integrate import ForwardModel
from assimilation.observations.operators import Time
from assimilation.observations.window import Observations


def controls_adjacent(V: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Lay out in memory the controls of one variable side by side: a model treats all alike.

    Only so do its loops become vector instructions, which makes them five times as fast.
    """
    return with_layout_constraint(V, Layout(major_to_minor=(1, 0)))


class WindowCost(NamedTuple):
    """The 4DVar cost of one window, up to a chosen row of its observations.

    J(chi) = 1/2 |chi|^2 + 1/2 sum_i |R_i^{-1/2} (h(x_{t_i}) - y_i)|^2 with x_0 = x_b + L chi
    and x_{t+1} = M(x_t); row i was observed at step t_i, and the sum ends with row `last`.

    With an `error_root` Q^{1/2}, on arrays (T_assim, D), the control is [chi_0, chi_eta]
    and the model has errors: x_{t+1} = M(x_t) + eta_t with eta = Q^{1/2} chi_eta.
    """

    forward: ForwardModel
    prior_mean: Float[Array, " D"]
    root: lx.AbstractLinearOperator
    observations: Observations
    inverse_root: Float[Array, "n N"] | Float[Array, "n N N"]
    error_root: lx.AbstractLinearOperator | None = None

    def increment(self, chi: Float[Array, " n"]) -> tuple[Array, Array | None]:
        """L chi_0 (D,), and the model errors Q^{1/2} chi_eta (T_assim, D) or None."""
        size = self.root.in_size()
        state = self.root.mv(chi[:size].reshape(self.root.in_structure().shape))
        if self.error_root is None:
            return state, None
        controls = chi[size:].reshape(self.error_root.in_structure().shape)
        return state, self.error_root.mv(controls)

    def initial_state(self, chi: Float[Array, " n"]) -> Float[Array, " D"]:
        """x_0 = x_b + L chi."""
        return self.prior_mean + self.increment(chi)[0]

    def control_of(self, x0: Float[Array, " D"]) -> Float[Array, " n"]:
        """The control chi whose initial state is `x0`: the solution of L chi = x_0 - x_b."""
        require.shape(self.prior_mean.shape, **{"the initial state to start from": x0})
        solver = lx.AutoLinearSolver(well_posed=None)
        return lx.linear_solve(self.root, x0 - self.prior_mean, solver).value.ravel()

    def cost(self, chi: Float[Array, " n"], last: Time) -> Float[Array, ""]:
        """J(chi), or infinity if the model overflows."""
        increment, etas = self.increment(chi)

        def add(row, carry):
            state, cost = carry
            state = self.between(row, self.step(etas), state)
            d = self.departure(row, state)
            return state, cost + 0.5 * d @ d

        start = (self.prior_mean + increment, 0.5 * chi @ chi)
        return finite_or_inf(jax.lax.fori_loop(0, last + 1, add, start)[1])

    def linearise(self, chi: Float[Array, " n"], last: Time) -> NormalEquations:
        """Cost, gradient and dense Gauss-Newton Hessian of the strong cost.

        The tangent-linear model carries the sensitivities V_t = (dx_t/dchi)^T (n, D) forward,
        and each time with observations adds V_t H^T R^{-1} H V_t^T.
        """

        def step(_, carry):
            state, V = carry
            state, M = jax.linearize(lambda x: self.forward.step(x, self.forward.dt), state)
            return state, controls_adjacent(jax.vmap(M)(controls_adjacent(V)))

        def add(row, carry):
            state, V, sums = carry
            state, V = self.between(row, step, (state, V))

            def observed(sums):
                d, H = jax.linearize(lambda x: self.departure(row, x), state)
                HV = jax.vmap(H)(V)
                return NormalEquations(
                    sums.cost + 0.5 * d @ d, sums.gradient + HV @ d, sums.hessian + HV @ HV.T
                )

            seen = self.observations.mask[row].any()
            return state, V, jax.lax.cond(seen, observed, lambda sums: sums, sums)

        sums = NormalEquations(0.5 * chi @ chi, chi, jnp.eye(chi.size, dtype=chi.dtype))
        start = (self.initial_state(chi), self.root.as_matrix().T, sums)
        return jax.lax.fori_loop(0, last + 1, add, start)[2]

    def departure(self, row: Time, state: Float[Array, " D"]) -> Float[Array, " N"]:
        """R^{-1/2} (h(x) - y) of one row."""
        return self.observations.departure(row, state, self.inverse_root)

    @property
    def times(self) -> Int[Array, " n"]:
        """The observed steps."""
        return jnp.array(self.observations.times)

    def between(self, row: Time, step, carry):
        """`step(t, carry)` for each model step t between the observations before and at `row`."""
        before = jnp.where(row > 0, self.times[row - 1], 0)
        return jax.lax.fori_loop(before, self.times[row], step, carry)

    def step(self, etas: Float[Array, "T_assim D"] | None):
        """One step of the model with its error: from (t, x_t) to x_{t+1}."""
        dt = self.forward.dt
        return lambda t, x: self.forward.step(x, dt) + (0 if etas is None else etas[t])
