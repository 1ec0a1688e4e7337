"""Batches of windows, dense in time: what networks are trained on."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from assimilation import require


class Batch1D(eqx.Module):
    """Observed windows: values, where they are, and (for training) the truth.

    `input` (B, T, N) holds the observations, `mask` (B, T, N) is 1 where there is one
    and 0 elsewhere, `target` (B, T, D) is the true trajectory or None.
    Raises ValueError if shapes differ, a value is not finite, a mask entry is neither
    0 nor 1, or a window holds no observation at all.
    """

    input: Float[Array, "B T N"]
    mask: Float[Array, "B T N"]
    target: Float[Array, "B T D"] | None = None

    def __check_init__(self):
        require.shape(("B", "T", "N"), input=self.input)
        require.shape(self.input.shape, mask=self.mask)
        require.finite(input=self.input)
        require.zeros_and_ones(mask=self.mask)
        if self.target is not None:
            require.shape((*self.input.shape[:2], "D"), target=self.target)
            require.finite(target=self.target)
        if require.is_concrete(self.mask):
            empty = int(np.sum(~np.asarray(self.mask).any(axis=(1, 2))))
            if empty:
                raise ValueError(
                    f"mask is empty in {empty} of {len(self.mask)} windows: pass at least "
                    "one observation (a 1) in each window."
                )

    def observed_times(self) -> tuple[int, ...]:
        """The steps at which some window has an observation; all of them under `jit`."""
        if not require.is_concrete(self.mask):
            return tuple(range(self.mask.shape[1]))
        return tuple(np.flatnonzero(np.asarray(self.mask).any(axis=(0, 2))).tolist())
