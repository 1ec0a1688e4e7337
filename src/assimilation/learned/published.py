"""Weights that the book has trained and publishes beside its pages."""

import hashlib
import json
import os
from pathlib import Path
from urllib.request import urlopen

from assimilation.learned.fingerprint import LIBRARIES
from assimilation.learned.recipe import Recipe

TIMEOUT_S = 10


def fetch(name: str, wanted: Recipe, path: Path) -> str | None:
    """Puts published weights that fit at `path`; returns why not, if there are none.

    They are looked for at the address in the environment variable ASSIMILATION_WEIGHTS.
    """
    base = os.environ["ASSIMILATION_WEIGHTS"].rstrip("/")
    try:
        index = json.loads(_read(f"{base}/index.json"))
        same_name = [each for each in index if each["name"] == name]
        fitting = [each for each in same_name if wanted.fits(each["recipe"], each["numbers"])]
        if not fitting:
            return "those there have other settings or code" if same_name else "none has this name"
        content = _read(f"{base}/{fitting[0]['file']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{base} cannot be read: {error}"
    if hashlib.sha256(content).hexdigest() != fitting[0]["sha256"]:
        return f"{fitting[0]['file']} has been damaged on its way"
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return None


def record(name: str, made: Recipe, path: Path, seconds: float) -> None:
    """Leaves a note that a chapter of the book uses the weights at `path`, for who publishes them.

    The environment variable ASSIMILATION_BOOK names the chapter.
    """
    content = path.read_bytes()
    versions = {each.__name__: each.__version__ for each in LIBRARIES}
    note = {
        "name": name,
        "recipe": made.code,
        "numbers": made.numbers,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "versions": versions,
        "seconds": round(seconds, 1),
    }
    folder = path.parent / os.environ["ASSIMILATION_BOOK"]
    folder.mkdir(exist_ok=True)
    (folder / path.with_suffix(".json").name).write_text(json.dumps(note))


def _read(address: str) -> bytes:
    with urlopen(address, timeout=TIMEOUT_S) as answer:
        return answer.read()
