"""The learned parts of FourDVarNet: a prior, and a modulator of its gradients."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.learned.networks import Dense, with_neighbours


class LearnedPrior(eqx.Module):
    """The map phi of a window to itself: windows that it hardly changes are likely ones.

    A linear code of `latent_dim` numbers a site, mixed with the neighbours' codes in a
    nonlinear step, and decoded to a window.
    """

    encode: Dense
    mix: Dense
    decode: Dense
    reach: int = eqx.field(static=True)

    def __init__(self, n_channels: int, latent_dim: int, reach: int, key: Array):
        k_encode, k_mix, k_decode = jax.random.split(key, 3)
        self.encode = Dense(n_channels, latent_dim, k_encode)
        self.mix = Dense((2 * reach + 1) * latent_dim, latent_dim, k_mix)
        self.decode = Dense(latent_dim, n_channels, k_decode, gain=0.3)
        self.reach = reach

    def __call__(self, x: Float[Array, "n_sites C"]) -> Float[Array, "n_sites C"]:
        code = self.encode(x)
        return self.decode(code + jnp.tanh(self.mix(with_neighbours(code, self.reach))))


class Gradient(NamedTuple):
    """The gradient of each of the two terms of the variational cost, and the mask."""

    observed: Float[Array, "n_sites C"]
    prior: Float[Array, "n_sites C"]
    mask: Float[Array, "n_sites C"]


def softly_normalised(
    g: Float[Array, "n_sites C"], where: Float[Array, "n_sites C"]
) -> Float[Array, "n_sites C"]:
    """g / sqrt(1 + s^2), where s is the root mean square of g over the marked entries.

    Gradients much larger than one come out with size one; small ones stay as they are, so
    that their size still tells how far there is to go.
    """
    mean_square = jnp.sum(where * g**2) / jnp.maximum(where.sum(), 1.0)
    return g / jnp.sqrt(1.0 + mean_square)


class LSTMModulator(eqx.Module):
    """An LSTM at each site that turns the gradient of the cost into a step.

    Each part of the gradient is normalised over the entries that it can reach, because one
    observation in a hundred entries would drown otherwise, and the two are added with
    learned weights, exp(`log_weights`). All sites share the weights of the LSTM and each
    sees its neighbours' gradients. The output of an LSTM (Hochreiter &
    Schmidhuber 1997) lies between -1 and 1, so no gradient can make a step larger than
    the weights of the last layer allow.
    """

    encode: Dense
    take: Dense
    keep: Dense
    show: Dense
    new: Dense
    decode: Dense
    log_weights: Float[Array, "2"]
    reach: int = eqx.field(static=True)

    def __init__(self, n_channels: int, hidden_dim: int, reach: int, key: Array):
        k_encode, k_decode, *k_gates = jax.random.split(key, 6)
        self.encode = Dense(n_channels, hidden_dim, k_encode)
        # Four matrices and not one beside the other: Muon treats each by itself, five times
        # faster than all in one.
        gates = [Dense((2 * reach + 2) * hidden_dim, hidden_dim, k) for k in k_gates]
        self.take, self.keep, self.show, self.new = gates
        # A gate that starts open remembers; training closes it where that helps.
        self.keep = eqx.tree_at(lambda gate: gate.bias, self.keep, jnp.ones(hidden_dim))
        self.decode = Dense(hidden_dim, n_channels, k_decode, gain=0.3)
        self.log_weights = jnp.zeros(2)
        self.reach = reach

    def initial(self, n_sites: int) -> tuple[Array, Array]:
        """The memory before the first step."""
        nothing = jnp.zeros((n_sites, self.decode.weight.shape[0]), self.decode.weight.dtype)
        return nothing, nothing

    def __call__(self, gradient: Gradient, memory: tuple[Array, Array]):
        hidden, cell = memory
        w_observed, w_prior = jnp.exp(self.log_weights)
        everywhere = jnp.ones_like(gradient.mask)
        g = w_observed * softly_normalised(gradient.observed, gradient.mask)
        g = g + w_prior * softly_normalised(gradient.prior, everywhere)
        seen = with_neighbours(self.encode(g), self.reach)
        seen = jnp.concatenate([seen, hidden], axis=-1)
        take, keep, show = (
            jax.nn.sigmoid(gate(seen)) for gate in (self.take, self.keep, self.show)
        )
        cell = keep * cell + take * jnp.tanh(self.new(seen))
        hidden = show * jnp.tanh(cell)
        return self.decode(hidden), (hidden, cell)
