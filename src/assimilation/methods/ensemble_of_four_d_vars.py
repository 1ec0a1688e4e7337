"""A posterior and not only its mode: perturbed 4DVars, and the Laplace approximation."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.covariances import square_root
from assimilation.methods.incremental_four_d_var import IncrementalFourDVar
from assimilation.methods.quasi_static import last_observed
from assimilation.methods.strong_four_d_var import StrongFourDVar
from assimilation.methods.window_cost import WindowCost
from assimilation.observations import Batch1D, observation_variance

Method = StrongFourDVar | IncrementalFourDVar


class Members(NamedTuple):
    """An ensemble of initial states: `members` (B, n, D), `mean` and `spread` (B, D).

    `mode` (B, D) is the unperturbed analysis. `spread` is the standard deviation over
    the members, with n - 1 in the denominator.
    """

    members: Float[Array, "B n D"]
    mean: Float[Array, "B D"]
    spread: Float[Array, "B D"]
    mode: Float[Array, "B D"]


class EnsembleOfFourDVars(eqx.Module):
    """An ensemble of 4DVars with perturbed backgrounds and observations.

    Each member is an analysis from a background drawn from N(x_b, B) and observations
    drawn from N(y, R): for a linear model, a draw from the posterior (Isaksen et al.
    2010; randomised maximum likelihood). Members start from the unperturbed analysis,
    with the whole window at once, and stay near that minimum.

    `method` is a StrongFourDVar or an IncrementalFourDVar. Calling the ensemble on a
    batch gives the mean of the members' initial states (B, D). Their trajectories are
    means of another kind: `solve` returns the members, to be run through the model and
    averaged afterwards.
    """

    method: Method
    n_members: int = eqx.field(default=16, static=True)
    key: Array = eqx.field(default_factory=lambda: jax.random.key(0))

    def __check_init__(self):
        if not isinstance(self.method, Method):
            raise TypeError(
                f"method is {type(self.method).__name__}: pass a StrongFourDVar or an "
                "IncrementalFourDVar."
            )
        checks.count(2, n_members=self.n_members)
        checks.key(key=self.key)

    def __call__(self, batch: Batch1D) -> Float[Array, "B D"]:
        """The mean initial states (B, D) of a batch."""
        return self.solve(batch).mean

    @eqx.filter_jit
    def solve(self, batch: Batch1D) -> Members:
        """All members, their mean and their spread, and the unperturbed mode."""
        method = self.method
        mode = method.solve(batch)[0]
        root = square_root(method.prior_cov_op)
        noise_std = jnp.sqrt(observation_variance(method.obs_cov_op))
        controls = root.in_structure()
        # A perturbed minimum costs twice as much, so its misfit cannot tell a wrong one.
        once = replace(method, n_starts=1)

        def member(key):
            k_background, k_noise = jax.random.split(key)
            draw = jax.random.normal(k_background, controls.shape, controls.dtype)
            noise = noise_std * jax.random.normal(k_noise, batch.input.shape, batch.input.dtype)
            perturbed = replace(once, prior_mean=method.prior_mean + root.mv(draw))
            seen = Batch1D(batch.input + batch.mask * noise, batch.mask)
            return perturbed.solve(seen, first_guess=mode)[0]

        members = jax.lax.map(member, jax.random.split(self.key, self.n_members))
        members = jnp.swapaxes(members, 0, 1)
        return Members(members, members.mean(axis=1), members.std(axis=1, ddof=1), mode)


def laplace_covariance(
    method: Method, batch: Batch1D, x0: Float[Array, "B D"]
) -> Float[Array, "B D D"]:
    """The covariance of a Gaussian fitted to the posterior at its mode `x0` (B, D).

    It is L (I + A^T A)^{-1} L^T, the inverse of the Gauss-Newton Hessian of the cost in
    state space: the Kalman smoother's covariance if model and observations are linear.
    Dense, so meant for small states.
    """
    variance = observation_variance(method.obs_cov_op)
    root = square_root(method.prior_cov_op)

    def one(obs, mask, state):
        weights = mask / jnp.sqrt(variance)
        window = WindowCost(method.forward, method.obs_op, method.prior_mean, root, obs, weights)
        local = window.linearise(window.control_of(state), last_observed(mask))
        factor = jnp.linalg.cholesky(local.hessian)
        half = jax.scipy.linalg.solve_triangular(factor, root.as_matrix().T, lower=True)
        return half.T @ half

    return jax.vmap(one)(batch.input, batch.mask, x0)
