"""Layers that treat every site of a ring alike."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation.climatology import Ring


def ring_or_one_site(ring: Ring | None, size: int) -> Ring:
    """The ring, or for None a single site that owns all `size` entries of the state."""
    ring = Ring(1, (size,)) if ring is None else ring
    if ring.by_site().size != size:
        raise ValueError(
            f"ring has {ring.by_site().size} entries and the state {size}: pass "
            "Ring(K, (1,)), or Ring(K, (1, J)) with two levels."
        )
    return ring


def to_sites(window: Float[Array, "*fields T D"], ring: Ring) -> Float[Array, "n_sites channels"]:
    """All fields and times of each site's entries as the channels of that site."""
    sites = window[..., ring.by_site()]
    return jnp.moveaxis(sites, -2, 0).reshape(ring.n_sites, -1)


def from_sites(
    channels: Float[Array, "n_sites channels"], ring: Ring, shape: tuple[int, ...]
) -> Float[Array, "*fields T D"]:
    """The inverse of `to_sites` for windows of `shape` (*fields, T, D)."""
    sites = ring.by_site()
    blocks = channels.reshape(ring.n_sites, *shape[:-1], sites.shape[1])
    where = np.argsort(sites.ravel())
    return jnp.moveaxis(blocks, 0, -2).reshape(*shape[:-1], -1)[..., where]


class CircularConv(eqx.Module):
    """A convolution around the ring: each site sees itself and its two neighbours.

    Written as one matrix product on the three of them side by side, which on a CPU is
    several times faster than a convolution.
    """

    linear: eqx.nn.Linear

    def __init__(self, in_size: int, out_size: int, key: Array):
        self.linear = eqx.nn.Linear(3 * in_size, out_size, key=key)

    def __call__(self, x: Float[Array, "n_sites in"]) -> Float[Array, "n_sites out"]:
        neighbours = [jnp.roll(x, 1, axis=0), x, jnp.roll(x, -1, axis=0)]
        return jax.vmap(self.linear)(jnp.concatenate(neighbours, axis=-1))


class RingBlock(eqx.Module):
    """A residual block: x + linear(gelu(convolution(normalised x)))."""

    norm: eqx.nn.LayerNorm
    conv: CircularConv
    linear: eqx.nn.Linear

    def __init__(self, width: int, key: Array):
        k_conv, k_linear = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(width)
        self.conv = CircularConv(width, width, k_conv)
        self.linear = eqx.nn.Linear(width, width, key=k_linear)

    def __call__(self, x: Float[Array, "n_sites width"]) -> Float[Array, "n_sites width"]:
        return x + jax.vmap(self.linear)(jax.nn.gelu(self.conv(jax.vmap(self.norm)(x))))


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
