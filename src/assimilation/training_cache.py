"""Trained weights on disk, so that training happens once for each set of settings."""

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from assimilation import checks
from assimilation.training import Trained, save_whole, train
from assimilation.training_data import TrainingData


def cache_folder() -> Path:
    """Where weights are kept: $ASSIMILATION_CACHE, or .cache/assimilation at home."""
    named = os.environ.get("ASSIMILATION_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "assimilation"


def fingerprint(*parts: Any) -> str:
    """A hash of this package's code, JAX's version, and the given pytrees.

    Arrays count with their type, shape and values, everything else by its `repr`.
    """
    found = hashlib.sha256(jax.__version__.encode())
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        found.update(str(file.relative_to(package)).encode() + file.read_bytes())
    leaves, structure = jax.tree.flatten(parts)
    found.update(_said(structure).encode())
    for leaf in leaves:
        if eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if eqx.is_array(leaf):
            leaf = np.asarray(leaf)
            found.update(repr((leaf.dtype.str, leaf.shape)).encode() + leaf.tobytes())
        else:
            found.update(_said(leaf).encode())
    return found.hexdigest()[:20]


def _said(thing: Any) -> str:
    """Its `repr` without the address of a function, which differs from run to run."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(thing))


def cached_training(
    name: str,
    model: Any,
    data: TrainingData,
    n_steps: int,
    key: Array,
    *,
    folder: str | Path | None = None,
    check_every: int = 50,
    progress: bool = True,
    **settings: Any,
) -> Trained:
    """What `train` gives, from disk if these settings were trained before.

    `model` is the untrained model, `settings` are further keywords of `train`. The file
    is `<name>-<fingerprint>.eqx` in `folder` (None: the environment variable
    ASSIMILATION_CACHE, or .cache/assimilation in the home directory). The fingerprint
    covers the package's code, the data settings, the untrained weights (and so their
    seed), `key` and the training settings: whatever changes, training starts anew. The
    pool is simulated only if there is something to train, and its time counts as
    training time. A training that was interrupted goes on from its last checkpoint.
    """
    checks.key(key=key)
    if not isinstance(data, TrainingData):
        raise TypeError(
            f"data is {type(data).__name__}: pass TrainingData(problem, key), whose settings "
            "name the file; for other data call train."
        )
    folder = cache_folder() if folder is None else Path(folder)
    settings = {"check_every": check_every, **settings}
    code = fingerprint(model, data.settings(), key, n_steps, sorted(settings.items()))
    path = folder / f"{name}-{code}.eqx"
    if path.exists():
        checks_made = n_steps // check_every + 1
        steps, losses = np.zeros(checks_made, int), np.zeros(checks_made)
        empty = Trained(model, np.zeros(n_steps), steps, losses, seconds=0.0)
        return eqx.tree_deserialise_leaves(path, empty)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    pool = jax.block_until_ready(data.simulate())
    simulated = time.perf_counter() - started
    checkpoint = path.with_suffix(".checkpoint")
    found = train(model, pool, n_steps, key, checkpoint=checkpoint, progress=progress, **settings)
    found = found._replace(seconds=found.seconds + simulated)
    save_whole(path, found)
    return found
