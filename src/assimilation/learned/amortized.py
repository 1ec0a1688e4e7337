"""Amortized posterior: a network that maps a window's observations to its posterior."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.ring import Ring
from assimilation.learned.heads import Gaussian, Head
from assimilation.learned.networks import RingNetwork
from assimilation.learned.normalisation import Normalisation
from assimilation.methods.analysis import Analysis
from assimilation.observations.batch import Batch1D
from assimilation.observations.window import Observations


class MLPObsEncoder(eqx.Module):
    """Observations and mask of a window, flattened, through an MLP.

    `input_size` is T N, the number of values in a window; the MLP sees twice as many,
    with the mask. `depth` counts its hidden layers of `hidden_dim`. The context has
    shape (context_dim,).
    """

    mlp: eqx.nn.MLP
    input_size: int = eqx.field(static=True)

    def __init__(self, input_size: int, context_dim: int, hidden_dim: int, depth: int, key: Array):
        require.count(input_size=input_size, context_dim=context_dim, hidden_dim=hidden_dim)
        require.count(0, depth=depth)
        require.key(key=key)
        self.input_size = input_size
        self.mlp = eqx.nn.MLP(
            2 * input_size, context_dim, hidden_dim, depth, jax.nn.gelu, jax.nn.gelu, key=key
        )

    def __call__(
        self, obs: Float[Array, "T N"], mask: Float[Array, "T N"]
    ) -> Float[Array, " context"]:
        if obs.size != self.input_size:
            raise ValueError(
                f"batch.input has {obs.size} values a window and input_size is "
                f"{self.input_size}: pass windows of shape (T, N) with T N = input_size."
            )
        return self.mlp(jnp.concatenate([obs.ravel(), mask.ravel()]))


class RingObsEncoder(eqx.Module):
    """Observations and mask of each site, through a `RingNetwork`.

    `mask` (T, D) is where observations can be expected. A time and kind of entry at which
    it shows nothing, on whatever site, is never looked at: the network has that much
    fewer inputs. The context has shape (n_sites, context_dim) and turns with the ring.
    Each of `n_blocks` blocks lets a site see one site further to both sides.
    """

    network: RingNetwork
    ring: Ring = eqx.field(static=True)
    n_time: int = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self, ring: Ring, mask: Float[Array, "T D"], context_dim: int, n_blocks: int, key: Array
    ):
        require.count(context_dim=context_dim, n_blocks=n_blocks)
        require.key(key=key)
        require.shape(("T", ring.size), mask=mask)
        expected = np.asarray(ring.to_sites(jnp.asarray(mask))).any(axis=0)
        if not expected.any():
            raise ValueError("mask is empty: pass the mask of a problem, such as problem.mask.")
        self.ring, self.n_time = ring, len(mask)
        self.channels = tuple(np.flatnonzero(expected).tolist())
        self.network = RingNetwork(2 * len(self.channels), context_dim, n_blocks, key)

    def __call__(
        self, obs: Float[Array, "T D"], mask: Float[Array, "T D"]
    ) -> Float[Array, "n_sites context"]:
        size = self.ring.size
        require.shape((self.n_time, size), **{"each window of batch.input": obs})
        fields = [self.ring.to_sites(field)[:, np.array(self.channels)] for field in (obs, mask)]
        return self.network(jnp.concatenate(fields, axis=-1))


@dataclass(frozen=True)
class AmortizedConfig:
    """What kind of head a posterior has: "regression", "gaussian" or "flow"."""

    head_type: str

    def __post_init__(self):
        require.one_of(("regression", "gaussian", "flow"), head_type=self.head_type)


class AmortizedPosterior(eqx.Module):
    """A posterior learned once, for all windows: p(x_{0:T} | y) from one network call.

    The `encoder` turns a window's observations and mask into a context, the `head` turns
    the context into a posterior over trajectories (T, D); Radev et al. (2022). Trained on
    simulated pairs, the pair approximates the posterior under the prior that the
    simulations follow: the model's own attractor. With a `normalisation` both work in
    units of the climatology; observations are then of the state itself (N = D). Called
    on a batch it returns the posterior mean, (B, T, D). `constants` names the parts that
    training leaves alone; `config` may name the kind of head, as a check.
    """

    encoder: Callable[[Array, Array], Array]
    head: Head
    normalisation: Normalisation | None = None
    constants: tuple[str, ...] = eqx.field(default=(), static=True)
    config: AmortizedConfig | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        kind = type(self.head).__name__.removesuffix("Head").lower()
        if self.config is not None and self.config.head_type != kind:
            raise ValueError(
                f"config.head_type={self.config.head_type!r} and head is a "
                f"{type(self.head).__name__}: pass the head that it names, or no config."
            )
        for name in ("loss", "mean"):
            if not callable(getattr(self.head, name, None)):
                raise TypeError(
                    f"head is {type(self.head).__name__}: pass RegressionHead, GaussianHead "
                    "or FlowHead."
                )
        if not callable(self.encoder):
            raise TypeError(
                f"encoder is {type(self.encoder).__name__}: pass MLPObsEncoder or RingObsEncoder."
            )

    @eqx.filter_jit
    def __call__(self, batch: Batch1D) -> Float[Array, "B T D"]:
        """The posterior mean of each window."""
        return self._unscaled(jax.vmap(self.head.mean)(self.context(batch)))

    def solve(self, observations: Observations) -> Analysis:
        """The posterior mean over one window, as a record."""
        return Analysis.of(self(observations.batch())[0])

    def context(self, batch: Batch1D) -> Float[Array, "B ..."]:
        """What the encoder makes of each window."""
        require.is_a(Batch1D, "a Batch1D, such as assim_batch(problem)", batch=batch)
        obs = batch.input
        if self.normalisation is not None:
            require.shape(("B", "T", *self.normalisation.mean.shape), **{"batch.input": obs})
            obs = self.normalisation.scaled(obs)
        return jax.vmap(self.encoder)(batch.mask * obs, batch.mask)

    def loss(self, batch: Batch1D, key: Array) -> Float[Array, ""]:
        """The head's loss, in normalised units, averaged over a batch with its target."""
        target = batch.target
        if self.normalisation is not None:
            target = self.normalisation.scaled(target)
        keys = jax.random.split(key, len(target))
        return jnp.mean(jax.vmap(self.head.loss)(self.context(batch), target, keys))

    @eqx.filter_jit
    def posterior(self, batch: Batch1D) -> Gaussian:
        """Mean, standard deviations and low-rank factors, from a `GaussianHead` only."""
        self._must_have("posterior", "GaussianHead")
        found = jax.vmap(self.head.posterior)(self.context(batch))
        std = 1.0 if self.normalisation is None else self.normalisation.std
        return Gaussian(self._unscaled(found.mean), found.std * std, found.factor * std)

    @eqx.filter_jit
    def sample(self, batch: Batch1D, key: Array, n: int) -> Float[Array, "n B T D"]:
        """`n` independent trajectories from each window's posterior."""
        self._must_have("sample", "GaussianHead or FlowHead")
        require.key(key=key)
        require.count(n=n)
        context = self.context(batch)

        def member(key):
            keys = jax.random.split(key, len(context))
            return self._unscaled(jax.vmap(self.head.sample)(context, keys))

        return jax.lax.map(member, jax.random.split(key, n))

    def _unscaled(self, z):
        return z if self.normalisation is None else self.normalisation.unscaled(z)

    def _must_have(self, method: str, heads: str):
        if not callable(getattr(self.head, method, None)):
            raise TypeError(
                f"head is {type(self.head).__name__}, which has no {method}: pass {heads}."
            )
