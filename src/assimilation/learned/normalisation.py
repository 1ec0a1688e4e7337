"""The units in which networks work: departures from climatology, of size one."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import require
from assimilation.problems import Problem


class Normalisation(eqx.Module):
    """z = (x - mean) / std for each entry of the state; `mean` and `std` are (D,).

    Training leaves both alone. Raises ValueError if `std` is not above zero.
    """

    mean: Float[Array, " D"]
    std: Float[Array, " D"]
    constants: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __check_init__(self):
        require.shape(("D",), mean=self.mean)
        require.shape(jnp.shape(self.mean), std=self.std)
        if require.is_concrete(self.std) and not bool((self.std > 0).all()):
            raise ValueError("std holds values of zero or less: pass standard deviations.")

    @classmethod
    def of(cls, problem: Problem) -> "Normalisation":
        """Mean and standard deviation of the problem's background."""
        variance = lx.diagonal(problem.B_op_state)
        return cls(problem.prior_mean_state, jnp.sqrt(variance))

    def scaled(self, states: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """States in units of the climatology."""
        return (states - self.mean) / self.std

    def unscaled(self, z: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """The inverse of `scaled`: physical units again."""
        return self.mean + self.std * z
