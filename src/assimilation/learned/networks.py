"""Layers that treat every site of a ring alike."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def with_neighbours(x: Float[Array, "n_sites C"], reach: int) -> Float[Array, "n_sites wide"]:
    """The channels of each site beside those of its neighbours, up to `reach` sites away.

    A linear layer after it makes a convolution around the ring. As one matrix product
    that is several times faster on a CPU than a convolution.
    """
    shifts = range(-reach, reach + 1)
    return jnp.concatenate([jnp.roll(x, shift, axis=0) for shift in shifts], axis=-1)


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


class RingBlock(eqx.Module):
    """A residual block: x + linear(gelu(convolution(normalised x)))."""

    norm: eqx.nn.LayerNorm
    conv: eqx.nn.Linear
    linear: eqx.nn.Linear

    def __init__(self, width: int, key: Array):
        k_conv, k_linear = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(width)
        self.conv = eqx.nn.Linear(3 * width, width, key=k_conv)
        self.linear = eqx.nn.Linear(width, width, key=k_linear)

    def __call__(self, x: Float[Array, "n_sites width"]) -> Float[Array, "n_sites width"]:
        seen = with_neighbours(jax.vmap(self.norm)(x), 1)
        return x + jax.vmap(self.linear)(jax.nn.gelu(jax.vmap(self.conv)(seen)))


class RingNetwork(eqx.Module):
    """Channels of each site in, `width` features of each site out.

    Turning the input by any number of sites turns the output by as many: no site has
    weights of its own. Each of `n_blocks` blocks lets a site see one site further.
    """

    first: eqx.nn.Linear
    blocks: list[RingBlock]
    norm: eqx.nn.LayerNorm

    def __init__(self, in_size: int, width: int, n_blocks: int, key: Array):
        k_first, *keys = jax.random.split(key, n_blocks + 1)
        self.first = eqx.nn.Linear(in_size, width, key=k_first)
        self.blocks = [RingBlock(width, k) for k in keys]
        self.norm = eqx.nn.LayerNorm(width)

    def __call__(self, x: Float[Array, "n_sites in"]) -> Float[Array, "n_sites width"]:
        x = jax.vmap(self.first)(x)
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x)
