"""A state with the parameters of its model: estimate both by any method."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation import require
from assimilation.models.integrate import ForwardModel


class Augmented(eqx.Module):
    """A forward model on [x, theta]: the state (D,) and n parameters of its model.

    `where` picks the parameters from a model, as for `equinox.tree_at`: `lambda m: (m.F,)`.
    A step moves x with the parameters that the state carries, and leaves these alone
    (Jazwinski 1970, section 8.4). Raises TypeError if `forward` is not a forward model or
    `where` does not pick numbers or scalar arrays.
    """

    forward: ForwardModel
    where: Callable[[ForwardModel], tuple] = eqx.field(static=True)

    def __check_init__(self):
        require.forward_model(self.forward)
        picked = self.where(self.forward)
        scalars = isinstance(picked, tuple) and all(
            eqx.is_array_like(value) and jnp.ndim(value) == 0 for value in picked
        )
        if not (scalars and picked):
            raise TypeError(
                f"where picks {picked!r}: pass a function from a model to a tuple of its "
                "scalar parameters, such as lambda model: (model.F,)."
            )

    @property
    def dt(self) -> float:
        """Time step, in model time units."""
        return self.forward.dt

    @property
    def parameters(self) -> Float[Array, " n"]:
        """The parameters (n,) of the model as it is."""
        return jnp.stack([jnp.asarray(value, float) for value in self.where(self.forward)])

    def step(self, state: Float[Array, " D_plus_n"], dt: float) -> Float[Array, " D_plus_n"]:
        """One step of length `dt` of [x, theta]."""
        n = len(self.where(self.forward))
        x, theta = state[:-n], state[-n:]
        model = eqx.tree_at(self.where, self.forward, tuple(theta))
        return jnp.concatenate([model.step(x, dt), theta])
