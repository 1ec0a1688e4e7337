"""What can be trained, which of its weights move, and one step of training."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from assimilation.observations.batch import Batch1D


@runtime_checkable
class Learner(Protocol):
    """What can be trained: a pytree with a loss on a batch that holds its target.

    `key` is for losses that draw at random; the others leave it alone. A module anywhere
    in it may list in `constants` those of its fields that training leaves alone.
    """

    def loss(self, batch: Batch1D, key: Array) -> Float[Array, ""]: ...


def trainable(model: PyTree) -> PyTree[bool]:
    """For each leaf of a model, whether training moves it: a filter for `eqx.filter`.

    It moves arrays of floating-point numbers, save those in a field that the module which
    owns it lists in its `constants`.
    """

    def moves(path, leaf):
        node = model
        for key in path:
            if isinstance(key, jax.tree_util.GetAttrKey):
                if key.name in getattr(node, "constants", ()):
                    return False
                node = getattr(node, key.name)
            else:
                node = node[key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key]
        return eqx.is_inexact_array(leaf)

    return jax.tree_util.tree_map_with_path(moves, model)


def train_step(
    model: Learner,
    batch: Batch1D,
    opt: optax.GradientTransformation,
    opt_state: PyTree,
    key: Array | None = None,
) -> tuple[Learner, PyTree, Float[Array, ""]]:
    """One step of gradient descent on one batch: the new model, its state, the loss.

    Start with `opt_state = opt.init(eqx.filter(model, eqx.is_inexact_array))`. `key` is
    needed only by a model whose loss draws at random. Constants of the model stay as they
    are. Raises ValueError for a batch without a target.
    """
    if not callable(getattr(model, "loss", None)):
        raise TypeError(
            f"model is {type(model).__name__}: pass a model with loss(batch, key), such as "
            "AmortizedPosterior."
        )
    if batch.target is None:
        raise ValueError(
            "batch has no target: pass Batch1D(input=..., mask=..., target=truth) for training."
        )
    return _one_step(model, batch, opt, opt_state, jax.random.key(0) if key is None else key)


def amortized_train_step(
    model: Learner,
    batch: Batch1D,
    opt: optax.GradientTransformation,
    opt_state: PyTree,
    key: Array | None = None,
) -> tuple[Learner, PyTree, Float[Array, ""]]:
    """One step of `train_step`, under the name that goes with `AmortizedPosterior`."""
    return train_step(model, batch, opt, opt_state, key)


@eqx.filter_jit
def _one_step(model, batch, opt, opt_state, key):
    moving, still = eqx.partition(model, trainable(model))
    loss, gradient = loss_and_gradient(moving, still, batch, key)
    weights = eqx.filter(model, eqx.is_inexact_array)
    # The caller's optimiser knows all weights: those that stay get a gradient of zero.
    zero = jax.tree.map(jnp.zeros_like, eqx.filter(still, eqx.is_inexact_array))
    change, opt_state = opt.update(eqx.combine(gradient, zero), opt_state, weights)
    return eqx.apply_updates(model, eqx.filter(change, trainable(model))), opt_state, loss


def loss_and_gradient(
    moving: PyTree, still: PyTree, batch: Batch1D, key: Array
) -> tuple[Float[Array, ""], PyTree]:
    """The loss of `moving` and `still` combined, and its gradient for `moving`."""
    return jax.value_and_grad(lambda moving: eqx.combine(moving, still).loss(batch, key))(moving)
