"""The units in which networks work: departures from climatology, of size one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from assimilation import checks
from assimilation.problems import Problem


class Normalisation(eqx.Module):
    """z = (x - mean) / std for each entry of the state; `mean` and `std` are (D,).

    Both are constants: no gradient reaches them, so that no optimiser moves them.
    Raises ValueError if `std` is not above zero.
    """

    mean: Float[Array, " D"]
    std: Float[Array, " D"]

    def __check_init__(self):
        checks.shape((None,), mean=self.mean)
        checks.shape(jnp.shape(self.mean), std=self.std)
        if checks.is_concrete(self.std) and not bool((self.std > 0).all()):
            raise ValueError("std holds values of zero or less: pass standard deviations.")

    @classmethod
    def of(cls, problem: Problem) -> "Normalisation":
        """Mean and standard deviation of the problem's background."""
        variance = lx.diagonal(problem.B_op_state)
        return cls(problem.prior_mean_state, jnp.sqrt(variance))

    def scaled(self, states: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """States in units of the climatology."""
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return (states - mean) / std

    def unscaled(self, z: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """The inverse of `scaled`: physical units again."""
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return mean + std * z
