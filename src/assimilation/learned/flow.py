"""A head that samples: flow matching about a trained Gaussian."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation import require
from assimilation.learned.amortized import AmortizedPosterior
from assimilation.learned.heads import Gaussian, GaussianHead
from assimilation.learned.networks import RingNetwork
from assimilation.observations.batch import Batch1D

N_FREQUENCIES = 8


class Modes(eqx.Module):
    """Principal components of the residuals of one site's window.

    A residual is `size` (channels,), its root mean square, times the sum of `basis`
    (channels, n_modes) times coefficients of variance `scale` squared, plus independent
    noise of standard deviation `rest` (channels,) for what the modes leave out.
    """

    size: Float[Array, " channels"]
    basis: Float[Array, "channels n_modes"]
    scale: Float[Array, " n_modes"]
    rest: Float[Array, " channels"]

    @classmethod
    def of(cls, residuals: Float[Array, "n channels"], n_modes: int) -> "Modes":
        """The leading components of residuals (n, channels), about zero.

        They are those of the correlations: a channel counts whatever its size.
        """
        residuals = np.asarray(residuals, dtype=np.float64)
        size = np.sqrt(np.mean(residuals**2, axis=0))
        relative = residuals / size
        values, vectors = np.linalg.eigh(relative.T @ relative / len(relative))
        basis, scale = vectors[:, ::-1][:, :n_modes], np.sqrt(values[::-1][:n_modes])
        left = relative - relative @ basis @ basis.T
        rest = size * np.sqrt(np.mean(left**2, axis=0))
        dtype = jnp.result_type(float)
        return cls(*(jnp.asarray(part, dtype) for part in (size, basis, scale, rest)))

    def coefficients(
        self, residual: Float[Array, "n_sites channels"]
    ) -> Float[Array, "n_sites n_modes"]:
        """Each of variance one over the residuals that the modes come from."""
        return residual / self.size @ self.basis / self.scale

    def residual(self, z: Float[Array, "n_sites n_modes"]) -> Float[Array, "n_sites channels"]:
        """The part of a residual that coefficients z describe."""
        return (z * self.scale) @ self.basis.T * self.size


class FlowHead(eqx.Module):
    """Samples about a trained Gaussian, by flow matching (Lipman et al. 2023).

    A trajectory is the Gaussian's mean plus its standard deviation times a residual, and
    the residual is described by `n_modes` principal components for each site. A network v
    learns the velocity that carries standard normal coefficients z_0, at s = 0, along
    straight lines to those of the residual, z_1, at s = 1: the loss is
    |v(s, (1 - s) z_0 + s z_1, context) - (z_1 - z_0)|^2, on average over s, z_0 and the
    training pairs. Integrating dz/ds = v from a fresh z_0 gives a sample. Were z_1 standard
    normal whatever the context, v would be (2s - 1) / (s^2 + (1 - s)^2) z; the network
    learns what is to be added to it, and starts at zero. What the modes leave out is added
    as independent noise. Training leaves the Gaussian and the encoder as they are. Build it
    with `FlowHead.about`.
    """

    gaussian: GaussianHead
    modes: Modes
    network: RingNetwork
    out: eqx.nn.Linear
    n_solver_steps: int = eqx.field(static=True)
    constants: ClassVar[tuple[str, ...]] = ("gaussian", "modes")

    @classmethod
    def about(
        cls,
        trained: AmortizedPosterior,
        batch: Batch1D,
        n_modes: int,
        width: int,
        n_blocks: int,
        key: Array,
        n_solver_steps: int = 16,
    ) -> AmortizedPosterior:
        """An untrained posterior with a flow about a `trained` one with a `GaussianHead`.

        `batch`, with its target, gives the residuals whose principal components are
        used; a thousand windows are a good number. The velocity network is a
        `RingNetwork` of `width` and `n_blocks`.
        """
        require.count(n_modes=n_modes, width=width, n_blocks=n_blocks)
        require.count(n_solver_steps=n_solver_steps)
        require.key(key=key)
        if not isinstance(getattr(trained, "head", None), GaussianHead):
            raise TypeError("trained has no GaussianHead: pass a trained AmortizedPosterior.")
        if batch.target is None:
            raise ValueError("batch has no target: pass one with the true trajectories.")
        found, ring = trained.posterior(batch), trained.head.ring
        residual = (batch.target - found.mean) / found.marginal_std()
        sites = jax.vmap(ring.to_sites)(residual)
        n_channels = sites.shape[-1]
        if n_modes > n_channels:
            raise ValueError(
                f"n_modes={n_modes}: a site has {n_channels} channels, pass at most that many."
            )
        modes = Modes.of(sites.reshape(-1, n_channels), n_modes)
        context = jax.eval_shape(trained.context, batch)
        n_context = context.size // (len(batch.input) * ring.n_sites)
        head = cls(
            gaussian=trained.head,
            modes=modes,
            network=RingNetwork(n_modes + n_context + 2 * N_FREQUENCIES, width, n_blocks, key),
            out=jax.tree.map(jnp.zeros_like, eqx.nn.Linear(width, n_modes, key=key)),
            n_solver_steps=n_solver_steps,
        )
        return AmortizedPosterior(
            trained.encoder, head, trained.normalisation, constants=("encoder",)
        )

    def mean(self, context: Float[Array, "*sites context"]) -> Float[Array, "T D"]:
        """The mean of the Gaussian that the flow is about."""
        return self.centre(context).mean

    def centre(self, context: Float[Array, "*sites context"]) -> Gaussian:
        """The Gaussian that the flow is about."""
        return self.gaussian.posterior(context)

    def velocity(
        self,
        s: Float[Array, ""],
        z: Float[Array, "n_sites n_modes"],
        context: Float[Array, "n_sites context"],
    ) -> Float[Array, "n_sites n_modes"]:
        """dz/ds at "time" s in [0, 1]."""
        angles = jnp.pi * s * jnp.arange(1, N_FREQUENCIES + 1)
        clock = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])
        clock = jnp.broadcast_to(clock, (len(z), clock.size))
        learned = jax.vmap(self.out)(self.network(jnp.concatenate([z, context, clock], axis=-1)))
        return (2 * s - 1) / (s**2 + (1 - s) ** 2) * z + learned

    def loss(
        self, context: Float[Array, "*sites context"], target: Float[Array, "T D"], key: Array
    ) -> Float[Array, ""]:
        """Mean square error of the velocity."""
        about = self.centre(context)
        residual = (target - about.mean) / about.marginal_std()
        end = self.modes.coefficients(self.gaussian.ring.to_sites(residual))
        k_s, k_start = jax.random.split(key)
        s = jax.random.uniform(k_s, (), end.dtype)
        start = jax.random.normal(k_start, end.shape, end.dtype)
        found = self.velocity(s, (1 - s) * start + s * end, self._by_site(context))
        return jnp.mean((found - (end - start)) ** 2)

    def sample(self, context: Float[Array, "*sites context"], key: Array) -> Float[Array, "T D"]:
        """One draw, with `n_solver_steps` steps of Heun's method from s = 0 to 1."""
        k_start, k_rest = jax.random.split(key)
        modes, by_site, about = self.modes, self._by_site(context), self.centre(context)
        shape = (self.gaussian.ring.n_sites, modes.scale.size)
        step = 1 / self.n_solver_steps

        def heun(z, number):
            s = number * step
            v = self.velocity(s, z, by_site)
            w = self.velocity(s + step, z + step * v, by_site)
            return z + step / 2 * (v + w), None

        z = jax.random.normal(k_start, shape, modes.scale.dtype)
        z, _ = jax.lax.scan(heun, z, jnp.arange(self.n_solver_steps))
        residual = modes.residual(z)
        noise = jax.random.normal(k_rest, residual.shape, residual.dtype)
        residual = residual + modes.rest * noise
        residual = self.gaussian.ring.from_sites(residual, about.mean.shape)
        return about.mean + about.marginal_std() * residual

    def _by_site(self, context):
        return context.reshape(self.gaussian.ring.n_sites, -1)
