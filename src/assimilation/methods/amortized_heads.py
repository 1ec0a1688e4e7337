"""Heads of an amortized posterior: what the context says about the trajectory.

A head works in normalised units and on one window; its three methods are

    loss(context, target (T, D), key) -> a number, lowest on average at the posterior
    mean(context) -> (T, D)
    sample(context, key) -> (T, D), for heads that can
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.climatology import Ring
from assimilation.methods.ring_networks import from_sites, ring_or_one_site


class Decoder(eqx.Module):
    """From a context to `n_fields` trajectories, by one MLP that all sites share.

    Without a ring the whole state is one site.
    """

    mlp: eqx.nn.MLP
    shape: tuple[int, int, int] = eqx.field(static=True)
    ring: Ring = eqx.field(static=True)

    def __init__(self, context_dim, state_shape, hidden_dim, depth, key, ring, n_fields):
        checks.count(context_dim=context_dim, hidden_dim=hidden_dim)
        checks.count(0, depth=depth)
        checks.key(key=key)
        if len(state_shape) != 2:
            raise ValueError(f"state_shape={state_shape!r}: pass (T, D), times by entries.")
        self.shape = (n_fields, *state_shape)
        self.ring = ring_or_one_site(ring, state_shape[1])
        out_size = n_fields * state_shape[0] * state_shape[1] // self.ring.n_sites
        self.mlp = eqx.nn.MLP(context_dim, out_size, hidden_dim, depth, jax.nn.gelu, key=key)

    def __call__(self, context: Float[Array, "*sites context"]) -> Float[Array, "n_fields T D"]:
        sites = context.reshape(self.ring.n_sites, -1)
        return from_sites(jax.vmap(self.mlp)(sites), self.ring, self.shape)


class RegressionHead(eqx.Module):
    """The posterior mean: what the mean square error is smallest for.

    An MLP with `depth` hidden layers of `hidden_dim` (0: a linear map) from a context
    of `context_dim` numbers to a trajectory of `state_shape` (T, D). On a `ring` the
    context has `context_dim` numbers a site, and the MLP is applied at each site.

    `weights` (D,) weigh the squared errors of the entries (None: all alike). They change
    neither what is learned in the end nor its units, but what is learned first: large
    ones belong on entries that the observations can tell, small ones on those that stay
    noise. They are constants, scaled to a mean of one.
    """

    decoder: Decoder
    weights: Float[Array, " D"] | None

    def __init__(
        self,
        context_dim: int,
        state_shape: tuple[int, int],
        hidden_dim: int,
        depth: int,
        key: Array,
        ring: Ring | None = None,
        weights: Float[Array, " D"] | None = None,
    ):
        self.decoder = Decoder(context_dim, state_shape, hidden_dim, depth, key, ring, 1)
        if weights is not None:
            checks.shape(tuple(state_shape[1:]), weights=weights)
            checks.finite(weights=weights)
            weights = weights / jnp.mean(weights)
        self.weights = weights

    def mean(self, context: Float[Array, "*sites context"]) -> Float[Array, "T D"]:
        """The estimate of the posterior mean."""
        return self.decoder(context)[0]

    def loss(
        self, context: Float[Array, "*sites context"], target: Float[Array, "T D"], key: Array
    ) -> Float[Array, ""]:
        """Mean square error, weighted."""
        square = (self.mean(context) - target) ** 2
        if self.weights is not None:
            square = jax.lax.stop_gradient(self.weights) * square
        return jnp.mean(square)


class Gaussian(NamedTuple):
    """N(mean, diag(std^2) + sum_r factor_r factor_r^T) over trajectories (T, D)."""

    mean: Float[Array, "*batch T D"]
    std: Float[Array, "*batch T D"]
    factor: Float[Array, "*batch rank T D"]

    def marginal_std(self) -> Float[Array, "*batch T D"]:
        """Standard deviation of each entry."""
        return jnp.sqrt(self.std**2 + jnp.sum(self.factor**2, axis=-3))


class GaussianHead(eqx.Module):
    """The posterior mean, and a covariance that is diagonal plus low rank.

    The loss is minus the log-density of the target, per entry. It is lowest, among all
    covariances of this form, where mean and variances are the posterior's own, and on
    the way it weighs each entry's error by the variance that is left. Arguments as for
    `RegressionHead`; `rank` is the number of columns beside the diagonal.
    """

    decoder: Decoder

    def __init__(
        self,
        context_dim: int,
        state_shape: tuple[int, int],
        hidden_dim: int,
        depth: int,
        key: Array,
        ring: Ring | None = None,
        rank: int = 4,
    ):
        checks.count(rank=rank)
        fields = 2 + rank
        self.decoder = Decoder(context_dim, state_shape, hidden_dim, depth, key, ring, fields)

    def posterior(self, context: Float[Array, "*sites context"]) -> Gaussian:
        """Mean and covariance, in normalised units."""
        mean, width, *columns = self.decoder(context)
        scale = len(columns) ** -0.5
        # The floor keeps the log-density finite where the data leave no doubt.
        return Gaussian(mean, jax.nn.softplus(width) + 1e-3, scale * jnp.stack(columns))

    def mean(self, context: Float[Array, "*sites context"]) -> Float[Array, "T D"]:
        """The estimate of the posterior mean."""
        return self.decoder(context)[0]

    def loss(
        self, context: Float[Array, "*sites context"], target: Float[Array, "T D"], key: Array
    ) -> Float[Array, ""]:
        """Minus the log-density of the target, per entry of the trajectory."""
        found = self.posterior(context)
        residual = (target - found.mean).ravel()
        return gaussian_score(residual, found.std.ravel(), found.factor) / residual.size

    def sample(self, context: Float[Array, "*sites context"], key: Array) -> Float[Array, "T D"]:
        """One draw."""
        found = self.posterior(context)
        k_own, k_shared = jax.random.split(key)
        own = found.std * jax.random.normal(k_own, found.std.shape, found.std.dtype)
        shared = jax.random.normal(k_shared, found.factor.shape[:1], found.std.dtype)
        return found.mean + own + jnp.tensordot(shared, found.factor, axes=1)


def gaussian_score(
    residual: Float[Array, " n"], std: Float[Array, " n"], factor: Float[Array, "rank ..."]
) -> Float[Array, ""]:
    """Minus the log-density of N(0, diag(std^2) + A^T A), A = `factor`, without 2 pi.

    By Woodbury's identity and the matrix determinant lemma nothing larger than
    rank x rank is factorised.
    """
    white, columns = residual / std, factor.reshape(len(factor), -1) / std
    inner = jnp.linalg.cholesky(jnp.eye(len(factor), dtype=std.dtype) + columns @ columns.T)
    shared = jax.scipy.linalg.solve_triangular(inner, columns @ white, lower=True)
    log_det = jnp.sum(jnp.log(std)) + jnp.sum(jnp.log(jnp.diagonal(inner)))
    return 0.5 * (white @ white - shared @ shared) + log_det
