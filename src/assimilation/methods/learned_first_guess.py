"""Strong 4DVar that starts where a learned method left off."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import square_root
from assimilation.methods.ingredients import check_batch
from assimilation.methods.strong_four_d_var import StrongFourDVar, WindowCost
from assimilation.observations import Batch1D, observation_variance
from assimilation.solvers import Diagnostics, each, levenberg_marquardt


class LearnedFirstGuess(eqx.Module):
    """Strong 4DVar with the analysis of a learned method as its first guess.

    `learned` maps a batch to analyses (B, T, D); its state at the first time, x_a(0), is
    written as a control, chi = L^{-1} (x_a(0) - x_b), and the cost of the `strong` 4DVar
    over the whole window is minimised from there, with its `max_steps` and `rtol`. A
    first guess in the valley of the right minimum needs no growing window and no further
    starts. The cost, and so the minimum, stays that of 4DVar: the learned method decides
    only where the search begins.
    """

    learned: Any
    strong: StrongFourDVar

    def __check_init__(self):
        if not callable(self.learned):
            raise TypeError(
                f"learned is {type(self.learned).__name__}: pass a method that maps a batch "
                "to analyses (B, T, D), such as a trained AmortizedPosterior."
            )
        if not isinstance(self.strong, StrongFourDVar):
            raise TypeError(
                f"strong is {type(self.strong).__name__}: pass StrongFourDVar(forward=..., ...)."
            )

    def __call__(self, batch: Batch1D) -> Float[Array, "B D"]:
        """The analysed initial states (B, D) of a batch."""
        return self.solve(batch)[0]

    @eqx.filter_jit
    def solve(self, batch: Batch1D) -> tuple[Float[Array, "B D"], Diagnostics]:
        """The initial states (B, D) and diagnostics, each with a leading axis B."""
        strong = self.strong
        variance = observation_variance(strong.obs_cov_op)
        check_batch(batch, variance)
        guess = self.learned(batch)
        checks.shape(
            (*batch.input.shape[:2], *strong.prior_mean.shape), **{"the learned analysis": guess}
        )
        root = square_root(strong.prior_cov_op)
        matrix = root.as_matrix()

        def one(first, obs, mask):
            weights = mask / jnp.sqrt(variance)
            window = WindowCost(
                strong.forward, strong.obs_op, strong.prior_mean, root, obs, weights
            )
            end = jnp.max(jnp.where(mask.any(axis=1), jnp.arange(mask.shape[0]), 0))
            found = levenberg_marquardt(
                lambda chi: window.cost(chi, end),
                lambda chi: window.linearise(chi, end),
                jnp.linalg.solve(matrix, first - strong.prior_mean),
                strong.max_steps,
                strong.rtol,
                strong.max_steps + 1,
            )
            runs = found.iterations + (1 + found.chi.size) * found.linearisations
            cost = found.local.cost
            return window.initial_state(found.chi), Diagnostics(
                cost=cost,
                cost_history=found.history,
                iterations=found.iterations,
                converged=found.converged,
                misfit=2 * cost / mask.sum(),
                model_runs=runs * end / (mask.shape[0] - 1),
            )

        return each(one, guess[:, 0], batch.input, batch.mask)
