"""What chapters use to publish numbers and to stand by claims."""

from typing import Any

import numpy as np


def glue(name: str, value: Any) -> None:
    """Publish a number or a string under `name`, for use in the chapter's prose.

    NumPy and JAX scalars become Python ones, which the book can format. Outside the
    book, where `myst_nb` is missing, it prints the value instead.
    """
    if not isinstance(value, str):
        value = np.asarray(value)
        if value.ndim:
            raise ValueError(f"{name} has shape {value.shape}: glue one number at a time.")
        value = value.item()
    try:
        from myst_nb import glue as publish
    except ImportError:
        print(f"{name} = {value}")
        return
    publish(name, value, display=False)


def check(claim: str, holds: Any) -> None:
    """Print `claim` if it holds; raise AssertionError, which stops the build, if not."""
    if not bool(holds):
        raise AssertionError(f"This claim no longer holds: {claim}")
    print(f"checked: {claim}")
