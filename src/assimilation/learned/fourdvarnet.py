"""FourDVarNet: a variational solver whose prior and whose steps are learned."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.covariances.ring import Ring, ring_or_one_site
from assimilation.learned.fourdvarnet_parts import Gradient, LearnedPrior, LSTMModulator
from assimilation.learned.normalisation import Normalisation
from assimilation.methods.analysis import Analysis
from assimilation.observations.batch import Batch1D
from assimilation.observations.window import Observations

# So many solver steps are compiled as one piece: a training step takes a sixth less.
UNROLL = 5


class FourDVarNet1D(eqx.Module):
    """A variational solver that is trained from end to end (Fablet et al. 2021).

    A window x, in units of the climatology, has a cost of two terms, with a learned prior phi,

        U_o(x) = 1/2 sum over observed entries |x - y|^2,  U_p(x) = 1/2 sum |x - phi(x)|^2.

    The solver takes `n_solver_steps` steps x <- x - step from the climatological mean. The
    gradients come from automatic differentiation. Each is normalised softly and weighed, so
    what the steps follow is w_o grad U_o / sqrt(1 + s_o^2) + w_p grad U_p / sqrt(1 + s_p^2),
    with s the root mean square of each; a learned modulator with a memory turns that into
    the step.

    `state_dim` and `n_time` are the sizes of a window (T, N); `latent_dim` and
    `hidden_dim` the widths of prior and modulator. With a `ring` all sites share their
    weights: a site's channels are its entries at all times. Without one the whole window
    is one site, which works for any state. `normalisation` (None: none) brings the state
    to units of the climatology and back. `differentiation` says how training sees the
    solver: "unrolled" through all its steps, "one_step" through the last one only, as if
    the one before were a constant (Bolte, Pauwels & Vaiter 2023), in the memory of one.
    Raises ValueError for settings that do not fit each other.
    """

    prior: eqx.Module
    modulator: eqx.Module
    normalisation: Normalisation
    ring: Ring = eqx.field(static=True)
    n_time: int = eqx.field(static=True)
    n_solver_steps: int = eqx.field(static=True)
    differentiation: str = eqx.field(static=True)

    def __init__(
        self,
        state_dim: int,
        n_time: int,
        latent_dim: int,
        hidden_dim: int,
        n_solver_steps: int,
        *,
        key: Array,
        ring: Ring | None = None,
        normalisation: Normalisation | None = None,
        differentiation: str = "unrolled",
    ):
        require.count(state_dim=state_dim, n_time=n_time, n_solver_steps=n_solver_steps)
        require.count(latent_dim=latent_dim, hidden_dim=hidden_dim)
        require.key(key=key)
        require.one_of(("unrolled", "one_step"), differentiation=differentiation)
        if normalisation is None:
            normalisation = Normalisation(jnp.zeros(state_dim), jnp.ones(state_dim))
        require.shape((state_dim,), **{"normalisation.mean": normalisation.mean})
        reach = 0 if ring is None else 1
        self.ring = ring_or_one_site(ring, state_dim)
        n_channels = n_time * state_dim // self.ring.n_sites
        k_prior, k_modulator = jax.random.split(key)
        self.prior = LearnedPrior(n_channels, latent_dim, reach, k_prior)
        self.modulator = LSTMModulator(n_channels, hidden_dim, reach, k_modulator)
        self.normalisation = normalisation
        self.n_time = n_time
        self.n_solver_steps = n_solver_steps
        self.differentiation = differentiation

    def __call__(self, batch: Batch1D) -> Float[Array, "B T N"]:
        """The analysed windows (B, T, N)."""
        return self._solved(batch, self.n_solver_steps, None, keep_all=False)[:, -1]

    def solve(self, observations: Observations) -> Analysis:
        """The analysis of one window."""
        return Analysis.of(self(observations.batch())[0])

    def loss(self, batch: Batch1D, key: Array | None = None) -> Float[Array, ""]:
        """Mean square error of the analysis, in units of the climatological variance.

        The variance is one mean over the state, so that large components count as they do
        in an RMSE. `key` is not used.
        """
        variance = jnp.mean(self.normalisation.std**2)
        return jnp.mean((self(batch) - batch.target) ** 2) / variance

    def iterates(
        self,
        batch: Batch1D,
        n_steps: int | None = None,
        start: Float[Array, "B T N"] | None = None,
    ) -> Float[Array, "B n_steps_plus_1 T N"]:
        """The window before the first solver step and after each: (B, n_steps + 1, T, N).

        `n_steps` may differ from the number trained with (None: the same); `start` (None:
        the climatological mean) is the window to begin with. Raises ValueError if the
        batch has other sizes than the network.
        """
        n_steps = self.n_solver_steps if n_steps is None else n_steps
        require.count(n_steps=n_steps)
        return self._solved(batch, n_steps, start, keep_all=True)

    @eqx.filter_jit
    def _solved(self, batch: Batch1D, n_steps: int, start: Array | None, keep_all: bool):
        """All windows (B, n_steps + 1, T, N) on the way, or the last alone (B, 1, T, N)."""
        size = self.normalisation.mean.shape[0]
        require.shape(("B", self.n_time, size), **{"batch.input": batch.input})
        if start is None:
            mean = self.normalisation.unscaled(jnp.zeros(size))
            start = jnp.broadcast_to(mean, batch.input.shape)
        require.shape(batch.input.shape, start=start)

        def one(obs, mask, start):
            shape = obs.shape
            start, obs = self.normalisation.scaled(start), mask * self.normalisation.scaled(obs)
            fields = [self.ring.to_sites(field) for field in (start, obs, mask)]
            found = self._solve(*fields, n_steps, keep_all)
            back = jax.vmap(lambda x: self.ring.from_sites(x, shape))(found)
            return self.normalisation.unscaled(back)

        return jax.vmap(one)(batch.input, batch.mask, start)

    def cost(self, x: Array, obs: Array, mask: Array) -> tuple[Array, Array]:
        """The two terms of U at a window, all in the layout of the sites."""
        observed = jnp.sum(mask * (x - obs) ** 2) / 2
        return observed, jnp.sum((x - self.prior(x)) ** 2) / 2

    def gradient(self, x: Array, obs: Array, mask: Array) -> Gradient:
        """The gradient of each term of U at a window, in the layout of the sites."""
        observed, prior = (
            jax.grad(lambda x, term=term: self.cost(x, obs, mask)[term])(x) for term in (0, 1)
        )
        return Gradient(observed, prior, mask)

    def _solve(self, x: Array, obs: Array, mask: Array, n_steps: int, keep_all: bool):
        """All iterates (n_steps + 1, n_sites, channels) of one window, or the last alone."""

        def run(net, carry, obs, length):
            def step(carry, _):
                x, memory = carry
                change, memory = net.modulator(net.gradient(x, obs, mask), memory)
                x = x - change
                return (x, memory), x if keep_all else None

            return jax.lax.scan(step, carry, length=length, unroll=UNROLL)

        carry = (x, self.modulator.initial(self.ring.n_sites))
        if self.differentiation == "unrolled":
            carry, found = run(self, carry, obs, n_steps)
            parts = [x[None], found]
        else:
            # Constants leave nothing to differentiate, so no step is kept in memory.
            weights, static = eqx.partition(self, eqx.is_array)
            weights, *fixed = jax.lax.stop_gradient((weights, carry, obs))
            carry, found = run(eqx.combine(weights, static), *fixed, n_steps - 1)
            carry, last = run(self, carry, obs, 1)
            parts = [x[None], found, last]
        return jnp.concatenate(parts) if keep_all else carry[0][None]
