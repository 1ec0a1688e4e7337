"""Incremental 4DVar: a sequence of linear problems, solved by products alone."""

import equinox as eqx

from assimilation import require
from assimilation.methods.conjugate_gradients import conjugate_gradient_step
from assimilation.methods.four_d_var import FourDVar
from assimilation.methods.growing_window import Minimiser
from assimilation.methods.levenberg_marquardt import levenberg_marquardt
from assimilation.methods.linearised_window import LinearisedWindow
from assimilation.methods.window_cost import WindowCost


class ByProducts(FourDVar):
    """A 4DVar that forms no matrix: see `IncrementalFourDVar` for the arguments."""

    n_inner: int = eqx.field(default=40, static=True)
    inner_rtol: float = eqx.field(default=1e-3, static=True)

    def __check_init__(self):
        require.count(n_inner=self.n_inner)
        require.positive(inner_rtol=self.inner_rtol)

    def minimiser(self, window: WindowCost) -> Minimiser:
        return lambda chi, last, max_steps, rtol, damping: levenberg_marquardt(
            lambda chi: window.cost(chi, last),
            lambda chi: LinearisedWindow.around(window, chi, last),
            chi,
            self.n_iterations,
            max_steps,
            rtol,
            damping,
            lambda local, damping: conjugate_gradient_step(
                local.gradient,
                LinearisedWindow(window, local.states, last).hessian,
                damping,
                self.n_inner,
                self.inner_rtol,
            ),
            linearisation_runs=2,
        )


class IncrementalFourDVar(ByProducts):
    """Incremental 4DVar: outer linearisations, inner conjugate gradients.

    Minimises the cost of `StrongFourDVar` without a matrix (Courtier, Thepaut &
    Hollingsworth 1994). Each of at most `n_outer` outer steps linearises model and
    observations around the current run and solves

        (I + A^T A + damping I) dchi = -g,   A = R^{-1/2} H' M L,

    by at most `n_inner` conjugate-gradient steps, each of them one run of the tangent-
    linear and one of the adjoint model, down to `inner_rtol` of the gradient. A step is
    taken only if the nonlinear cost is finite and lower: otherwise damping rises and
    the inner loop is run again. Memory is linear in the state and in the window.

    The window grows and starts are repeated as in `StrongFourDVar`; `n_outer` and
    `rtol` bound each of these minimisations. The other arguments are those of
    `StrongFourDVar` too. For one large window, take `grow_window=False, n_starts=1`.
    """

    n_outer: int = eqx.field(default=60, static=True)

    @property
    def n_iterations(self) -> int:
        return self.n_outer
