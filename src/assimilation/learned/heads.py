"""Heads of an amortized posterior: what the context says about the trajectory."""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.ring import Ring, ring_or_one_site
from assimilation.observations.batch import Batch1D

# A training step changes a standard deviation so many times as much as it changes a mean, which
# may be nearly right already.
SPREAD_GAIN = 10.0


@runtime_checkable
class Head(Protocol):
    """What `AmortizedPosterior` asks of a head, on one window and in normalised units.

    `loss` is lowest on average at the posterior. A head that can draw trajectories has
    `sample(context, key)` (T, D) as well.
    """

    def loss(self, context: Array, target: Array, key: Array) -> Array: ...
    def mean(self, context: Array) -> Array: ...


class Decoder(eqx.Module):
    """From a context to `n_fields` trajectories, by one MLP that all sites share.

    Without a ring the whole state is one site.
    """

    mlp: eqx.nn.MLP
    shape: tuple[int, int, int] = eqx.field(static=True)
    ring: Ring = eqx.field(static=True)

    def __init__(self, context_dim, state_shape, hidden_dim, depth, key, ring, n_fields):
        require.count(context_dim=context_dim, hidden_dim=hidden_dim)
        require.count(0, depth=depth)
        require.key(key=key)
        if len(state_shape) != 2:
            raise ValueError(f"state_shape={state_shape!r}: pass (T, D), times by entries.")
        self.shape = (n_fields, *state_shape)
        self.ring = ring_or_one_site(ring, state_shape[1])
        out_size = n_fields * state_shape[0] * state_shape[1] // self.ring.n_sites
        self.mlp = eqx.nn.MLP(context_dim, out_size, hidden_dim, depth, jax.nn.gelu, key=key)

    def __call__(self, context: Float[Array, "*sites context"]) -> Float[Array, "n_fields T D"]:
        sites = context.reshape(self.ring.n_sites, -1)
        return self.ring.from_sites(jax.vmap(self.mlp)(sites), self.shape)


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
    constants: ClassVar[tuple[str, ...]] = ("weights",)

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
            require.shape(tuple(state_shape[1:]), weights=weights)
            require.finite(weights=weights)
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
            square = self.weights * square
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

    The loss is minus the log-density of the target, per entry: half from all entries
    together, half from each by itself, with its own variance. Both are lowest where mean
    and variances are the posterior's. Alone, the first half pays for columns that are still
    wrong with variances that are wrong too; the second keeps them right. Arguments as for
    `RegressionHead`;
    `rank` is the number of columns beside the diagonal.

    While the mean is far off, a large variance excuses it, and the mean learns slowly:
    for a large state start from a trained mean, `GaussianHead.about`.
    """

    centre: Decoder
    spread: Decoder
    scale: Float[Array, "T D"]
    constants: ClassVar[tuple[str, ...]] = ("scale",)

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
        require.count(rank=rank)
        k_centre, k_spread = jax.random.split(key)
        size = (context_dim, state_shape, hidden_dim, depth)
        self.centre = Decoder(*size, k_centre, ring, 1)
        spread = Decoder(*size, k_spread, ring, 1 + rank)
        last = jax.tree.map(lambda leaf: leaf / SPREAD_GAIN, spread.mlp.layers[-1])
        self.spread = eqx.tree_at(lambda spread: spread.mlp.layers[-1], spread, last)
        self.scale = jnp.ones(state_shape)

    @classmethod
    def about(cls, trained: eqx.Module, batch: Batch1D, key: Array, rank: int = 4) -> eqx.Module:
        """An untrained posterior about the mean of a `trained` one with a `RegressionHead`.

        `batch`, with its target, gives the residuals of that mean; their size at each
        time, the same for all sites, is where the standard deviations start.
        """
        if not isinstance(getattr(trained, "head", None), RegressionHead):
            raise TypeError("trained has no RegressionHead: pass a trained AmortizedPosterior.")
        if batch.target is None:
            raise ValueError("batch has no target: pass one with the true trajectories.")
        residual = batch.target - trained(batch)
        if trained.normalisation is not None:
            residual = residual / trained.normalisation.std
        decoder = trained.head.decoder
        ring, shape = decoder.ring, decoder.shape[1:]
        sites = jax.vmap(ring.to_sites)(residual)
        scale = jnp.sqrt(jnp.mean(sites**2, axis=(0, 1)))
        scale = ring.from_sites(jnp.broadcast_to(scale, sites.shape[1:]), shape)
        size = (decoder.mlp.in_size, shape, decoder.mlp.width_size, decoder.mlp.depth)
        head = cls(*size, key, ring, rank)
        head = eqx.tree_at(lambda head: (head.centre, head.scale), head, (decoder, scale))
        return eqx.tree_at(lambda model: model.head, trained, head)

    @property
    def ring(self) -> Ring:
        """The ring, or the one site, that the state is on."""
        return self.centre.ring

    def posterior(self, context: Float[Array, "*sites context"]) -> Gaussian:
        """Mean and covariance, in normalised units."""
        width, *columns = SPREAD_GAIN * self.spread(context)
        # A width of zero means the scale. The floor keeps the log-density finite where the
        # data leave no doubt.
        marginal_std = self.scale * (jax.nn.softplus(width + jnp.log(jnp.e - 1)) + 1e-3)
        columns = len(columns) ** -0.5 * jnp.stack(columns)
        std = marginal_std / jnp.sqrt(1 + jnp.sum(columns**2, axis=0))
        return Gaussian(self.mean(context), std, std * columns)

    def mean(self, context: Float[Array, "*sites context"]) -> Float[Array, "T D"]:
        """The estimate of the posterior mean."""
        return self.centre(context)[0]

    def loss(
        self, context: Float[Array, "*sites context"], target: Float[Array, "T D"], key: Array
    ) -> Float[Array, ""]:
        """Minus the log-density of the target, per entry of the trajectory."""
        found = self.posterior(context)
        residual, std = target - found.mean, found.marginal_std()
        together = gaussian_score(residual.ravel(), found.std.ravel(), found.factor)
        each = jnp.sum(0.5 * (residual / std) ** 2 + jnp.log(std))
        return 0.5 * (together + each) / residual.size

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
