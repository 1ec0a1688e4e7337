"""Covariances that look the same from every site of a ring, applied by FFT.

If rotating the ring changes no covariance, B is circulant, and the Fourier transform
around the ring splits it into one small block for each wavenumber. Products and square
roots then cost K log K for K sites, and nothing D x D is formed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Complex, Float

from assimilation import require
from assimilation.covariances.localisation import ring_taper
from assimilation.covariances.ring import Ring
from assimilation.covariances.roots import AbstractCovariance


class RingCovariance(AbstractCovariance):
    """A covariance on a ring, the same from every site, as blocks by wavenumber.

    With m entries per site, block w of `spectrum` (n_sites // 2 + 1, m, m) is the sum
    over distances d of C(d) exp(-2 pi i w d / n_sites), where C(d) (m, m) is the
    covariance of a site's entries with those of the site d places before it. Each block
    must be Hermitian and positive semidefinite. `ring` says where each entry stands in
    the state, as for `climatology`.

    Raises ValueError if the shape of `spectrum` does not fit the ring, or a block is not
    Hermitian.
    """

    spectrum: Complex[Array, "n_wavenumbers m m"]
    ring: Ring = eqx.field(static=True)

    def __check_init__(self):
        size = sum(self.ring.per_site)
        require.shape((self.ring.n_sites // 2 + 1, size, size), spectrum=self.spectrum)
        if require.is_concrete(self.spectrum):
            blocks = np.asarray(self.spectrum)
            require.finite(spectrum=blocks)
            asymmetry = np.abs(blocks - blocks.conj().swapaxes(1, 2)).max()
            if asymmetry > 1e-4 * np.abs(blocks).max():
                raise ValueError(
                    f"spectrum has blocks that are not Hermitian (by up to {asymmetry:.2g}): "
                    "pass (spectrum + spectrum.conj().swapaxes(1, 2)) / 2."
                )

    @classmethod
    def from_samples(
        cls,
        samples: Float[Array | np.ndarray, "n D"],
        ring: Ring,
        localisation: float | None = None,
    ) -> "RingCovariance":
        """The covariance of `samples` (n, D), averaged over all rotations of the ring.

        Entry by entry it is an unbiased estimate. `localisation`, in sites, multiplies it
        by `ring_taper`, which leaves nothing beyond twice that distance, and keeps it
        positive semidefinite (Schur's product theorem).

        Raises ValueError for fewer than two samples or a length that is not positive.
        """
        require.shape(("n", ring.size), samples=samples)
        if len(samples) < 2:
            raise ValueError(f"samples has {len(samples)} member: pass two or more.")
        by_site = jnp.asarray(samples)[:, ring.by_site()]
        waves = jnp.fft.rfft(by_site - by_site.mean(axis=(0, 1)), axis=1)
        spectrum = jnp.einsum("nwa,nwb->wab", waves, waves.conj()) / ring.n_sites
        # The mean over samples and sites was taken from wavenumber 0 alone.
        freedom = jnp.full(len(spectrum), len(samples)).at[0].add(-1)
        spectrum = spectrum / freedom[:, None, None]
        if localisation is not None:
            taper = jnp.asarray(ring_taper(ring.n_sites, localisation), by_site.dtype)
            by_distance = jnp.fft.irfft(spectrum, n=ring.n_sites, axis=0)
            spectrum = jnp.fft.rfft(taper[:, None, None] * by_distance, axis=0)
        return cls((spectrum + spectrum.conj().swapaxes(1, 2)) / 2, ring)

    def mv(self, vector: Float[Array, " D"]) -> Float[Array, " D"]:
        index = self.ring.by_site()
        waves = jnp.fft.rfft(vector[index], axis=0)
        waves = jnp.einsum("wab,wb->wa", self.spectrum, waves)
        by_site = jnp.fft.irfft(waves, n=self.ring.n_sites, axis=0)
        # Each entry has one place; said, because the transpose of a product needs to know.
        back = jnp.zeros_like(vector).at[index]
        return back.set(by_site.astype(vector.dtype), unique_indices=True)

    def in_structure(self):
        size = self.ring.size
        return jax.ShapeDtypeStruct((size,), self.spectrum.real.dtype)

    def square_root(self) -> "RingCovariance":
        """The symmetric square root: L = L^T with L L = B, on the same ring."""
        values, vectors = jnp.linalg.eigh(self.spectrum)
        roots = jnp.sqrt(jnp.maximum(values, 0))
        root = jnp.einsum("wai,wi,wbi->wab", vectors, roots, vectors.conj())
        return RingCovariance(root, self.ring)


@lx.diagonal.register
def _(operator: RingCovariance) -> Float[Array, " D"]:
    by_distance = jnp.fft.irfft(operator.spectrum, n=operator.ring.n_sites, axis=0)
    index = operator.ring.by_site()
    return jnp.zeros(index.size).at[index].set(jnp.diagonal(by_distance[0]))
