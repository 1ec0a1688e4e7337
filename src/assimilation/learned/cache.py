"""Trained weights on disk, so that training happens once for each set of settings."""

import os
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from filelock import FileLock
from jaxtyping import Array

from assimilation import require
from assimilation.learned.data import TrainingData, WindowPool
from assimilation.learned.fingerprint import fingerprint
from assimilation.learned.published import fetch, record
from assimilation.learned.recipe import recipe
from assimilation.learned.step import Learner
from assimilation.learned.training import Trained, save_whole, train


def cache_folder() -> Path:
    """Where weights are kept: $ASSIMILATION_CACHE, or .cache/assimilation at home."""
    named = os.environ.get("ASSIMILATION_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "assimilation"


def cached_training(
    name: str,
    model: Learner,
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
    covers the data settings, the untrained weights (and so their seed), `key`, the
    training settings, and the code that all of these use: whatever changes, training
    starts anew. The pool is simulated only if there is something to train, and its time
    counts as training time. A training that was interrupted goes on from its last
    checkpoint, and of two processes that ask for the same one the second waits.

    With an address in the environment variable ASSIMILATION_WEIGHTS, as a notebook of the
    book has it, weights that the book has published are fetched if the settings and the
    package are the same; the versions of the libraries need not be.
    """
    require.key(key=key)
    if not isinstance(data, TrainingData):
        raise TypeError(
            f"data is {type(data).__name__}: pass TrainingData(problem, key), whose settings "
            "name the file; for other data call train."
        )
    folder = cache_folder() if folder is None else Path(folder)
    settings = {"check_every": check_every, **settings}
    things = (train, model, type(data), data.settings(), key, n_steps, sorted(settings.items()))
    path = folder / f"{name}-{fingerprint(*things)}.eqx"
    folder.mkdir(parents=True, exist_ok=True)
    checks_made = n_steps // check_every + 1
    steps, losses = np.zeros(checks_made, int), np.zeros(checks_made)
    empty = Trained(model, np.zeros(n_steps), steps, losses, seconds=0.0)
    with FileLock(path.with_suffix(".lock")):
        found = _read(path, empty)
        if found is None and os.environ.get("ASSIMILATION_WEIGHTS"):
            found = _fetched(name, things, path, empty)
        if found is None:
            started = time.perf_counter()
            pool = _simulated(data)
            simulated = time.perf_counter() - started
            settings = {"checkpoint": path.with_suffix(".checkpoint"), **settings}
            found = train(model, pool, n_steps, key, progress=progress, **settings)
            found = found._replace(seconds=found.seconds + simulated)
            save_whole(path, found)
        if os.environ.get("ASSIMILATION_BOOK"):
            record(name, recipe(*things), path, found.seconds)
    return found


def _read(path: Path, empty: Trained) -> Trained | None:
    """The weights in a file; None, and a line about it, if they cannot be read."""
    if not path.exists():
        return None
    try:
        return eqx.tree_deserialise_leaves(path, empty)
    except Exception as error:  # NumPy and equinox have many names for a file that is cut or bent
        path.unlink()
        print(f"{path.name} cannot be read and is made anew ({type(error).__name__}).")
        return None


def _fetched(name: str, things: tuple[Any, ...], path: Path, empty: Trained) -> Trained | None:
    """Published weights that fit, kept at `path`; None, and a line that says why, if none do."""
    try:
        why = fetch(name, recipe(*things), path)
    except TypeError as error:
        why = str(error)
    if why is None:
        print(f"{name}: the weights come from {os.environ['ASSIMILATION_WEIGHTS']}.")
        return _read(path, empty)
    print(f"{name}: no published weights ({why}); it trains here.")
    return None


# The last pool alone: one takes up to 200 MB, and trainings that share one follow each other.
_last_pool: dict[str, WindowPool] = {}


def _simulated(data: TrainingData) -> WindowPool:
    """The pool of these settings, simulated once for trainings that follow each other."""
    code = fingerprint(TrainingData, data.settings())
    if code not in _last_pool:
        _last_pool.clear()
        _last_pool[code] = jax.block_until_ready(data.simulate())
    return _last_pool[code]
