"""Weak-constraint 4DVar: the model may err, by amounts that Q thinks likely."""

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.roots import square_root
from assimilation.covariances.structured import EachTime
from assimilation.methods.analysis import Analysis
from assimilation.methods.growing_window import last_row, share_of_window
from assimilation.methods.incremental_four_d_var import ByProducts
from assimilation.methods.method import diagnostics
from assimilation.observations.window import Observations


class WeakFourDVar(ByProducts):
    """Weak-constraint 4DVar in the form with the model error as control (Tremolet 2006).

    Minimises over x_0 and eta, with x_{t+1} = M(x_t) + eta_t, the strong cost plus
    1/2 |eta|^2 in the norm of Q^{-1}. Both are whitened, x_0 = x_b + L chi_0 and
    eta = Q^{1/2} chi_eta, so Q is never inverted and may be as small as one likes: as
    Q goes to zero this is strong 4DVar.

    `model_err_cov_op` Q is the covariance of the error of one step: on states (D,), the
    same and independent at each step, or on arrays (T_assim, D) for a schedule over the
    window or errors that are correlated in time. The minimisation starts from the
    strong solution, found as by `IncrementalFourDVar`, and makes at most `max_steps`
    outer steps with `n_inner` inner ones. The other arguments are those of
    `IncrementalFourDVar`.
    """

    model_err_cov_op: lx.AbstractLinearOperator = eqx.field(kw_only=True)
    max_steps: int = eqx.field(default=60, static=True)

    def __check_init__(self):
        Q, size = self.model_err_cov_op, np.shape(self.prior_mean)[-1]
        schedule = isinstance(Q, lx.AbstractLinearOperator) and len(Q.in_structure().shape) == 2
        n_steps = (Q.in_structure().shape[0],) if schedule else ()
        require.covariance("model_err_cov_op", Q, (*n_steps, size))
        require.positive_definite("model_err_cov_op", Q)

    @property
    def n_iterations(self) -> int:
        return self.max_steps

    def answer(self, analysis: Analysis) -> tuple[Float[Array, "B D"], Float[Array, "B T D"]]:
        """The initial states (B, D) and model errors (B, T_assim, D) of a batch."""
        return analysis.x0, analysis.etas

    @eqx.filter_jit
    def solve(
        self, observations: Observations, first_guess: Float[Array, " D"] | None = None
    ) -> Analysis:
        """The analysis of one window, with its model errors; `first_guess` as for strong 4DVar.

        Raises ValueError if a schedule Q does not have one entry for each step of the
        window. The diagnostics are those of the weak minimisation; its `model_runs` and
        `iterations` include the strong one.
        """
        strong = self.window(observations)
        start = self.best_of_starts(strong, first_guess)
        weak = strong._replace(error_root=square_root(self._over_window(observations.T_assim)))
        no_errors = jnp.zeros(weak.error_root.in_size(), start.chi.dtype)
        last = last_row(observations.mask)
        found = self.minimiser(weak)(
            jnp.concatenate([start.chi, no_errors]), last, self.max_steps, self.rtol, 0.0
        )
        found = found._replace(
            iterations=start.iterations + found.iterations,
            runs=start.runs + found.runs * share_of_window(weak, last),
        )
        increment, etas = weak.increment(found.chi)
        x0 = self.prior_mean + increment
        return Analysis(x0, etas=etas, diagnostics=diagnostics(found, observations))

    def _over_window(self, n_steps: int) -> lx.AbstractLinearOperator:
        """Q on arrays (n_steps, D)."""
        shape = self.model_err_cov_op.in_structure().shape
        if len(shape) == 1:
            return EachTime(self.model_err_cov_op, n_steps)
        if shape[0] != n_steps:
            raise ValueError(
                f"model_err_cov_op acts on shape {shape}, but the window has {n_steps} steps: "
                f"pass a covariance on shape {(n_steps, shape[1])}."
            )
        return self.model_err_cov_op
