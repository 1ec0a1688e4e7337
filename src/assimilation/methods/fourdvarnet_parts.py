"""The learned parts of FourDVarNet: a prior, and a modulator of its gradients."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Dense(eqx.Module):
    """x -> x W / sqrt(n_in) + b, along the last axis.

    W has entries of size one whatever the width, so that one learning rate suits layers of
    any width: Adam moves each entry by about the rate, and the output by as much.
    """

    weight: Float[Array, "n_in n_out"]
    bias: Float[Array, " n_out"]

    def __init__(self, n_in: int, n_out: int, key: Array, gain: float = 1.0):
        self.weight = gain * jax.random.normal(key, (n_in, n_out))
        self.bias = jnp.zeros(n_out)

    def __call__(self, x: Float[Array, "n_sites n_in"]) -> Float[Array, "n_sites n_out"]:
        return x @ self.weight / jnp.sqrt(self.weight.shape[0]) + self.bias


def with_neighbours(z: Float[Array, "n_sites C"], reach: int) -> Float[Array, "n_sites wide"]:
    """The channels of each site beside those of its neighbours, up to `reach` sites away.

    A `Dense` layer after it makes a convolution around the ring.
    """
    shifts = range(-reach, reach + 1)
    return jnp.concatenate([jnp.roll(z, shift, axis=0) for shift in shifts], axis=-1)


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
    """The gradient of the variational cost: its part from each term, and the mask."""

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

    Each part of the gradient is normalised over the entries that it can reach: one
    observation in a hundred entries would drown otherwise. All sites share the weights
    and each sees its neighbours' gradients. The output of an LSTM (Hochreiter &
    Schmidhuber 1997) lies between -1 and 1, so no gradient can make a step larger than
    the weights of the last layer allow.
    """

    encode: Dense
    gates: Dense
    decode: Dense
    log_weights: Float[Array, "2"]
    reach: int = eqx.field(static=True)

    def __init__(self, n_channels: int, hidden_dim: int, reach: int, key: Array):
        k_encode, k_gates, k_decode = jax.random.split(key, 3)
        self.encode = Dense(n_channels, hidden_dim, k_encode)
        self.gates = Dense((2 * reach + 2) * hidden_dim, 4 * hidden_dim, k_gates)
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
        gates = self.gates(jnp.concatenate([seen, hidden], axis=-1))
        take, keep, show, new = jnp.split(gates, 4, axis=-1)
        # A gate that starts open remembers; training closes it where that helps.
        cell = jax.nn.sigmoid(keep + 1.0) * cell + jax.nn.sigmoid(take) * jnp.tanh(new)
        hidden = jax.nn.sigmoid(show) * jnp.tanh(cell)
        return self.decode(hidden), (hidden, cell)
