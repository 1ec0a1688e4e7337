"""Rings: how a state lies on one, what its rotations are, and averages over them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation import require
from assimilation.models.integrate import ForwardModel


class Ring(eqx.Module):
    """How a state vector lies on a ring: `n_sites` sites, `per_site` entries each.

    `per_site` lists the entries that each site owns in the consecutive blocks of the
    state: (1,) for Lorenz-96, (1, J) for the two-level system. Raises ValueError for
    anything but positive whole numbers.
    """

    n_sites: int = eqx.field(static=True)
    per_site: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        require.count(n_sites=self.n_sites)
        if not isinstance(self.per_site, tuple) or not self.per_site:
            raise ValueError(f"per_site={self.per_site!r}: pass a tuple, such as (1,) or (1, J).")
        for size in self.per_site:
            require.count(per_site=size)

    @classmethod
    def of(cls, forward: ForwardModel) -> "Ring | None":
        """The ring that a model lives on: K sites, with J more entries each, or None."""
        if not hasattr(forward, "K"):
            return None
        return cls(forward.K, (1, forward.J) if hasattr(forward, "J") else (1,))

    @property
    def size(self) -> int:
        """Length of the state."""
        return self.n_sites * sum(self.per_site)

    def by_site(self) -> np.ndarray:
        """State indices grouped by site, shape (n_sites, entries per site)."""
        blocks, start = [], 0
        for size in self.per_site:
            stop = start + self.n_sites * size
            blocks.append(np.arange(start, stop).reshape(self.n_sites, size))
            start = stop
        return np.concatenate(blocks, axis=1)

    # Both layouts are slices and transpositions: a gather by index would cost a training
    # step more, in its derivative, than the matrix products do.
    def to_sites(self, window: Float[Array, "*fields T D"]) -> Float[Array, "n_sites channels"]:
        """All fields and times of each site's entries as the channels of that site."""
        ends = np.cumsum([self.n_sites * size for size in self.per_site])[:-1]
        blocks = jnp.split(window, ends, axis=-1)
        sites = [block.reshape(*block.shape[:-1], self.n_sites, -1) for block in blocks]
        return jnp.moveaxis(jnp.concatenate(sites, axis=-1), -2, 0).reshape(self.n_sites, -1)

    def from_sites(
        self, channels: Float[Array, "n_sites channels"], shape: tuple[int, ...]
    ) -> Float[Array, "*fields T D"]:
        """The inverse of `to_sites` for windows of `shape` (*fields, T, D)."""
        blocks = channels.reshape(self.n_sites, *shape[:-1], sum(self.per_site))
        parts = jnp.split(jnp.moveaxis(blocks, 0, -2), np.cumsum(self.per_site)[:-1], axis=-1)
        return jnp.concatenate([part.reshape(*shape[:-1], -1) for part in parts], axis=-1)

    def rotations(self, mask: Float[Array | np.ndarray, "T D"]) -> Int[np.ndarray, "n D"]:
        """The rotations that leave `mask` as it is, as orders of the entries.

        The first one moves nothing.
        """
        mask, sites = np.asarray(mask), self.by_site()
        orders = []
        for shift in range(self.n_sites):
            order = np.empty(sites.size, dtype=int)
            order[sites] = np.roll(sites, -shift, axis=0)
            if (mask[:, order] == mask).all():
                orders.append(order)
        return np.stack(orders)


def ring_or_one_site(ring: Ring | None, size: int) -> Ring:
    """The ring, or for None a single site that owns all `size` entries of the state.

    Raises ValueError if the ring has another number of entries.
    """
    ring = Ring(1, (size,)) if ring is None else ring
    if ring.size != size:
        raise ValueError(
            f"ring has {ring.size} entries and the state {size}: pass Ring(K, (1,)), or "
            "Ring(K, (1, J)) with two levels."
        )
    return ring


def symmetrised(samples: np.ndarray, ring: Ring) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of samples (n, D), averaged over all rotations."""
    index = ring.by_site()
    order = index.ravel()
    values = samples[:, index].astype(np.float64)
    mean = values.mean(axis=(0, 1))
    anomalies = (values - mean).reshape(len(samples), -1)
    by_site = anomalies.T @ anomalies / len(samples)
    # Rotating the sites by s moves both axes of the covariance together.
    size = index.shape[1]
    blocks = by_site.reshape(ring.n_sites, size, ring.n_sites, size)
    blocks = sum(np.roll(blocks, (s, s), axis=(0, 2)) for s in range(ring.n_sites))
    covariance = np.empty_like(by_site)
    covariance[np.ix_(order, order)] = blocks.reshape(by_site.shape) / ring.n_sites
    full_mean = np.empty(index.size)
    full_mean[index] = mean
    return full_mean, covariance
