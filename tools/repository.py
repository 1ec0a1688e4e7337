"""The address of the repository on GitHub, which is known only while it builds the book."""

import os
import re


def repository() -> str | None:
    """OWNER/NAME from GITHUB_REPOSITORY; None where it is unset or empty.

    Raises ValueError where it is no such name.
    """
    name = os.environ.get("GITHUB_REPOSITORY") or None
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/(?!\.{1,2}$)[A-Za-z0-9._-]+", name):
        raise ValueError(
            f"GITHUB_REPOSITORY is {name!r}, which names no repository on GitHub. "
            "Set it to OWNER/NAME, or unset it for a book without links to its repository."
        )
    return name


def home(repository: str) -> str:
    """The address at which GitHub Pages shows the book of `repository`; it ends in a slash."""
    owner, name = repository.split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
