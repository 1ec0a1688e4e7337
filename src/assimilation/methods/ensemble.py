"""A posterior and not only its mode: perturbed 4DVars, and the Laplace approximation."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.roots import square_root
from assimilation.methods.analysis import Analysis
from assimilation.methods.four_d_var import StrongFourDVar
from assimilation.methods.growing_window import last_row
from assimilation.methods.incremental_four_d_var import IncrementalFourDVar
from assimilation.methods.linearised_window import LinearisedWindow
from assimilation.methods.method import window_key
from assimilation.methods.window_cost import WindowCost
from assimilation.observations.window import Observations

PERTURBABLE = StrongFourDVar | IncrementalFourDVar


class EnsembleOfFourDVars(eqx.Module):
    """An ensemble of 4DVars with perturbed backgrounds and observations.

    Each member is an analysis from a background drawn from N(x_b, B) and observations
    drawn from N(y, R): for a linear model, a draw from the posterior (Isaksen et al.
    2010; randomised maximum likelihood). Members start from the unperturbed analysis,
    with the whole window at once, and stay near that minimum.

    `method` is a StrongFourDVar or an IncrementalFourDVar; `key`, with the window's
    observations, draws the `n_members` perturbations.
    """

    method: PERTURBABLE
    n_members: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        advice = "a StrongFourDVar or an IncrementalFourDVar"
        require.is_a(PERTURBABLE, advice, method=self.method)
        require.count(2, n_members=self.n_members)
        require.key(key=self.key)

    @eqx.filter_jit
    def solve(
        self, observations: Observations, first_guess: Float[Array, " D"] | None = None
    ) -> Analysis:
        """Mean and members, and how the unperturbed analysis went.

        Of the diagnostics, `iterations` and `model_runs` count the work of all members too.
        `first_guess` (D,) is where the unperturbed analysis starts, as for strong 4DVar.
        """
        method = self.method
        mode = method.solve(observations, first_guess)
        root = square_root(method.prior_cov_op)
        controls = root.in_structure()
        # A perturbed minimum costs twice as much, so its cost cannot tell a wrong one.
        once = replace(method, n_starts=1)

        def member(key):
            k_background, k_noise = jax.random.split(key)
            draw = jax.random.normal(k_background, controls.shape, controls.dtype)
            perturbed = replace(once, prior_mean=method.prior_mean + root.mv(draw))
            noise = jax.random.normal(k_noise, observations.values.shape, draw.dtype)
            found = perturbed.solve(observations.with_errors(noise), first_guess=mode.x0)
            return found.x0, found.diagnostics.iterations, found.diagnostics.model_runs

        keys = jax.random.split(window_key(self.key, observations.values), self.n_members)
        members, iterations, runs = jax.lax.map(member, keys)
        diagnostics = mode.diagnostics._replace(
            iterations=mode.diagnostics.iterations + iterations.sum(),
            model_runs=mode.diagnostics.model_runs + runs.sum(),
        )
        return Analysis(members.mean(axis=0), members=members, diagnostics=diagnostics)


def laplace_covariance(
    method: PERTURBABLE, observations: Observations, x0: Float[Array, " D"]
) -> Float[Array, "D D"]:
    """The covariance (D, D) of a Gaussian fitted to the posterior at its mode `x0` (D,).

    It is L (I + A^T A)^{-1} L^T, the inverse of the Gauss-Newton Hessian of the cost in
    state space: the Kalman smoother's covariance if model and observations are linear.
    Dense, so meant for small states.
    """
    require.is_a(PERTURBABLE, "a StrongFourDVar or an IncrementalFourDVar", method=method)
    window = method.window(observations)
    factor = hessian_factor(window, window.control_of(x0))
    root = window.root.as_matrix()
    half = jax.scipy.linalg.solve_triangular(factor, root.T, trans="T")
    return half.T @ half


def hessian_factor(window: WindowCost, chi: Float[Array, " n"]) -> Float[Array, "n n"]:
    """An upper triangle U with U^T U = I + A^T A, the Gauss-Newton Hessian at a control."""
    last = last_row(window.observations.mask)
    run = LinearisedWindow.around(window, chi, last)
    unit = jnp.eye(len(chi), dtype=chi.dtype)
    A = jax.vmap(LinearisedWindow(window, run.states, last).forward)(unit).reshape(len(unit), -1).T
    # To form I + A^T A would square the rounding errors, and lose its smallest eigenvalues.
    return jnp.linalg.qr(jnp.concatenate([unit, A]), mode="r")
