"""One training loop for every learned method."""

import time
from collections.abc import Callable
from pathlib import Path
from sys import stdout
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree
from tqdm import tqdm

from assimilation import require
from assimilation.learned.step import Learner, loss_and_gradient, trainable
from assimilation.observations.batch import Batch1D


@runtime_checkable
class PairSource(Protocol):
    """Where training pairs come from.

    A source with a method `held_out(key, size)` as well is validated on those pairs.
    """

    def draw(self, key: Array, size: int) -> Batch1D: ...


class Trained(NamedTuple):
    """A trained model and how it got there.

    `loss` (n_steps,) is the training loss of each step. `validation` is the loss on a
    fixed batch that takes no part in training, at the steps `validation_steps`, the
    first of them 0. `seconds` is the wall time of the training, compilation included.
    """

    model: Learner
    loss: np.ndarray
    validation_steps: np.ndarray
    validation: np.ndarray
    seconds: float


def one_cycle(n_steps: int, learning_rate: float) -> optax.Schedule:
    """A rate that rises for a tenth of the steps, then falls, along a cosine, to nearly zero."""
    return optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / 10,
        peak_value=learning_rate,
        warmup_steps=max(1, n_steps // 10),
        decay_steps=n_steps,
        end_value=learning_rate / 1000,
    )


def train(
    model: Learner,
    data: PairSource,
    n_steps: int,
    key: Array,
    *,
    batch_size: int = 64,
    optimiser: Callable[[optax.Schedule], optax.GradientTransformation] = optax.adam,
    learning_rate: float = 1e-3,
    clip: float = 1.0,
    validation_size: int = 256,
    check_every: int = 50,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Trained:
    """Train `model` for `n_steps` steps, each on a fresh batch from `data`.

    `optimiser` is called with the schedule of its rate, which rises to `learning_rate` in
    a tenth of the steps and then falls; `optax.adam` suits most networks, and
    `optax.contrib.muon` one whose weights are mostly matrices of no great size. It is given
    the trainable weights alone. Gradients whose norm over all of these exceeds `clip` are
    scaled down to it first.

    `n_steps` is a multiple of `check_every`: so many steps run in one compiled call.
    After each call comes a validation and, with a path `checkpoint`, a file from which
    the same call goes on after an interruption, to the same weights bit for bit; the file
    is removed at the end. `progress` shows a bar with the loss and the time left, on
    standard output.

    Raises FloatingPointError, and names the step, as soon as a loss is NaN or infinite or
    the validation loss has grown tenfold.
    """
    require.key(key=key)
    require.count(n_steps=n_steps, batch_size=batch_size, check_every=check_every)
    require.count(validation_size=validation_size)
    require.positive(learning_rate=learning_rate, clip=clip)
    if n_steps % check_every:
        raise ValueError(
            f"n_steps={n_steps} is not a multiple of check_every={check_every}: pass "
            f"n_steps={n_steps - n_steps % check_every + check_every}, or another check_every."
        )
    started = time.perf_counter()
    rate = one_cycle(n_steps, learning_rate)
    opt = optax.chain(optax.clip_by_global_norm(clip), optimiser(rate))
    k_train, k_validation = jax.random.split(key)
    validation = getattr(data, "held_out", data.draw)(k_validation, validation_size)
    weights, still = eqx.partition(model, trainable(model))

    @eqx.filter_jit
    def validate(weights, still, batch):
        return eqx.combine(weights, still).loss(batch, k_validation)

    @eqx.filter_jit
    def many_steps(weights, still, opt_state, data, first):
        def one(carry, step):
            weights, opt_state = carry
            k_draw, k_loss = jax.random.split(jax.random.fold_in(k_train, step))
            batch = data.draw(k_draw, batch_size)
            loss, gradient = loss_and_gradient(weights, still, batch, k_loss)
            change, opt_state = opt.update(gradient, opt_state, weights)
            return (optax.apply_updates(weights, change), opt_state), loss

        steps = first + jnp.arange(check_every)
        (weights, opt_state), losses = jax.lax.scan(one, (weights, opt_state), steps)
        return weights, opt_state, losses

    n_checks = n_steps // check_every
    state = {
        "weights": weights,
        "opt_state": opt.init(weights),
        "loss": np.full(n_steps, np.nan),
        "validation": np.full(n_checks + 1, np.nan),
        "done": np.zeros((), int),
        "seconds": np.zeros(()),
    }
    if checkpoint is not None:
        state = _resumed(Path(checkpoint), state)
    if not state["done"]:
        state["validation"][0] = validate(weights, still, validation)
    before = float(state["seconds"])
    bar = tqdm(
        total=n_steps, initial=int(state["done"]), file=stdout, disable=not progress, unit="step"
    )
    with bar:
        for number in range(int(state["done"]) // check_every, n_checks):
            first = number * check_every
            state["weights"], state["opt_state"], losses = many_steps(
                state["weights"], still, state["opt_state"], data, jnp.asarray(first)
            )
            state["loss"][first : first + check_every] = losses
            state["validation"][number + 1] = validate(state["weights"], still, validation)
            _stop_if_diverged(state, first, check_every, number)
            state["done"] = np.asarray(first + check_every)
            state["seconds"] = np.asarray(before + time.perf_counter() - started)
            bar.set_postfix(
                loss=f"{state['loss'][first + check_every - 1]:.4f}",
                validation=f"{state['validation'][number + 1]:.4f}",
                refresh=False,
            )
            bar.update(check_every)
            if checkpoint is not None:
                save_whole(checkpoint, state)
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return Trained(
        model=eqx.combine(state["weights"], still),
        loss=state["loss"],
        validation_steps=np.arange(n_checks + 1) * check_every,
        validation=state["validation"],
        seconds=before + time.perf_counter() - started,
    )


def save_whole(path: str | Path, tree: PyTree) -> None:
    """Write a pytree's leaves so that an interruption never leaves half a file."""
    path = Path(path)
    unfinished = path.with_suffix(".unfinished")
    with open(unfinished, "wb") as file:
        eqx.tree_serialise_leaves(file, tree)
    unfinished.replace(path)


def _resumed(checkpoint: Path, state: PyTree) -> PyTree:
    """The state in a checkpoint; `state`, which is the start, where none can be read."""
    if not checkpoint.exists():
        return state
    try:
        return eqx.tree_deserialise_leaves(checkpoint, state)
    except Exception as error:  # NumPy and equinox have many names for a file that is cut or bent
        print(
            f"{checkpoint.name} cannot be read, and training starts anew ({type(error).__name__})."
        )
        return state


def _stop_if_diverged(state, first, check_every, number):
    """Raise if the last steps or the validation after them show a divergence."""
    losses = state["loss"][first : first + check_every]
    advice = "pass a lower learning_rate or clip, and check that the training data are finite."
    if not np.isfinite(losses).all():
        step = first + int(np.argmin(np.isfinite(losses)))
        raise FloatingPointError(
            f"training diverged: the loss is {state['loss'][step]} at step {step}; {advice}"
        )
    start, now = state["validation"][0], state["validation"][number + 1]
    if not now <= start + 10 * abs(start):
        raise FloatingPointError(
            f"training diverged: the validation loss is {now:.3g} after step "
            f"{first + check_every}, and was {start:.3g} before the first; {advice}"
        )
