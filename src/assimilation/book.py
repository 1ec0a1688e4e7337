"""What chapters use to publish numbers, to stand by claims and to judge a reader's answers."""

import functools
import hashlib
import html
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

PACKAGES = ("jax", "jaxlib", "numpy", "assimilation")


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
    """Show `claim` as one line if it holds, and tell if it does not.

    In the book's build, in a script and in a test a claim that does not hold raises
    AssertionError. In a reader's notebook, where other versions may round in other ways, it
    is a line that says so and names the versions, and the notebook goes on.
    """
    anchor = hashlib.sha256(claim.encode()).hexdigest()[:10]
    if bool(holds):
        _line(f"✓ {claim}", f'class="claim" id="claim-{anchor}"')
        return
    if os.environ.get("ASSIMILATION_BOOK") or not _in_notebook():
        raise AssertionError(f"This claim no longer holds: {claim}")
    ran = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    # A notebook elsewhere has no style sheet of the book.
    style = "border-left: 3px solid #c77700; padding-left: 0.6em"
    text = f"✗ This claim of the book does not hold here: {claim} (With {ran}.)"
    _line(text, f'class="claim-fails" style="{style}"')


def verdict(right: Any, hint: str) -> None:
    """Tell a reader whether an answer to an exercise is right; raise AssertionError with the hint.

    The functions that check an exercise end with it, so an answer that is wrong cannot pass unseen.
    """
    if not bool(right):
        raise AssertionError(f"Not yet. {hint}")
    _line("✓ Right.", 'class="verdict"')


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:  # whatever runs in IPython has imported it
        return False
    from IPython import get_ipython

    return get_ipython() is not None


def self_check(check: Callable) -> Callable:
    """Decorate a function that checks an exercise: an answer that it cannot use is a wrong answer.

    The function then raises AssertionError, which names what it was given; the error that it met
    stays attached. The notebooks have it on each of their checks, the pages of the book do not.
    """

    @functools.wraps(check)
    def checked(*answers):
        try:
            return check(*answers)
        except (AssertionError, NotImplementedError):  # a verdict, or no answer yet
            raise
        except Exception as error:
            given = ", ".join("None" if one is None else type(one).__name__ for one in answers)
            raise AssertionError(
                f"Not yet. {check.__name__} cannot use this answer ({given or 'nothing'}): "
                f"{error}. The exercise says what to give it."
            ) from error

    return checked


def _line(text: str, attributes: str) -> None:
    """Display one line of text; as HTML where there is a notebook, which can then style it."""
    if not _in_notebook():
        print(text)
        return
    from IPython.display import display

    page = f"<p {attributes}>{html.escape(text)}</p>"
    display({"text/plain": text, "text/html": page}, raw=True)
