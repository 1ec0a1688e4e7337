"""Prints what CHANGELOG.md says of one version: the notes of its release.

python tools/release_notes.py VERSION
"""

import argparse
import re
import sys
from pathlib import Path

# "## 0.1.0 - 2026-05-01", or "## 0.1.0 - Unreleased" until there is a date.
HEADING = re.compile(r"^## (?P<version>\S+) - (?P<date>\S+)$", re.MULTILINE)


def versions(changelog: str) -> dict[str, tuple[str, str]]:
    """The date and the notes of each version, the newest first."""
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    return {
        heading["version"]: (heading["date"], changelog[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    }


def notes(changelog: str, version: str) -> str:
    """The notes of a version, which has a date and something to say; else a ValueError."""
    known = versions(changelog)
    if version not in known:
        raise ValueError(
            f"CHANGELOG.md has no version {version}, it has {', '.join(known) or 'none'}: "
            f"add '## {version} - YYYY-MM-DD' with its notes, or correct the tag."
        )
    date, text = known[version]
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        raise ValueError(
            f"CHANGELOG.md gives {version} the date {date}: "
            f"write the day of its release, '## {version} - YYYY-MM-DD'."
        )
    if not text:
        raise ValueError(f"CHANGELOG.md says nothing of {version}: write what is new below it.")
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("version")
    arguments = parser.parse_args()
    try:
        print(
            notes(Path(__file__).parents[1].joinpath("CHANGELOG.md").read_text(), arguments.version)
        )
    except ValueError as error:
        sys.exit(str(error))
