"""Executes the chapters, builds the pages, and says what is wrong with either.

    python tools/build_book.py [FOLDER] [--chapter NAME]

FOLDER holds _config.yml and _toc.yml (default: this repository). The exit status is 0 only if every
cell ran, Sphinx had nothing to warn about, and no page asks another site for anything. With NAME
only that chapter is executed; the other pages show what their last run has left, if there was one.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import weights
from chapters import (
    chapters,
    fingerprint,
    forget_pages,
    named,
    open_cache,
    prepare,
    ran_with,
)
from jupyter_cache.base import CacheBundleIn
from repository import repository
from run_chapters import run_chapters, without_colours


def execute(book: Path, name: str | None) -> tuple[list[str], list[str]]:
    """Runs the chapters whose code, package or versions have changed; with `name`, only that one.

    Returns what went wrong, and the names of the chapters that have never run.
    """
    cache = open_cache(book)
    every = chapters(book, cache)
    wanted = fingerprint(book, package=True)
    due = [
        chapter
        for chapter in every
        if weights.damaged(book, chapter) or ran_with(chapter, cache) != wanted
    ]
    chosen = due
    if name is not None:
        only = named(name, every)
        chosen = [chapter for chapter in due if chapter is only]
    for chapter in every:
        if chapter not in due:
            print(f"{chapter.name}: unchanged", flush=True)
        elif chapter not in chosen:
            print(f"{chapter.name}: left as it is, not up to date", flush=True)
    problems = run_chapters(book, chosen, cache, wanted)
    if problems:
        return problems, []
    weights.publish(book, every)
    missing = [chapter for chapter in every if ran_with(chapter, cache) is None]
    for chapter in missing:
        # Sphinx would run what the cache lacks. Such a page has its text and no outputs.
        bundle = CacheBundleIn(chapter.notebook, str(chapter.path), data={})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return [], [chapter.name for chapter in missing]


def build_pages(book: Path, *, strict: bool) -> tuple[list[str], bool]:
    """Turns the executed chapters into HTML. Returns what Sphinx said, and whether it failed.

    A warning is a failure if `strict`.
    """
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["-n", "-q", *(["-W", "--keep-going"] if strict else [])]
    result = subprocess.run([program, "build", str(book), *options], capture_output=True, text=True)
    failed = result.returncode != 0
    said = without_colours(result.stderr or (result.stdout if failed else ""))
    lines = [line.replace(f"{book}{os.sep}", "") for line in said.splitlines() if line]
    return lines, failed or bool(strict and lines)


def third_party_requests(pages: Path) -> list[str]:
    """What a browser would fetch from elsewhere while it shows the pages."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']((?:https?:)?//[^"']+)"""
        r"""|<link\b(?![^>]*rel=["'](?:canonical|license)["'])[^>]*\bhref=["']((?:https?:)?//[^"']+)"""
        r"""|(?:url\(|@import\s+)["']?((?:https?:)?//[^"')]+)""",
        re.IGNORECASE,
    )
    found = []
    for page in sorted([*pages.rglob("*.html"), *pages.rglob("*.css")]):
        for match in loads.finditer(page.read_text("utf-8")):
            found.append(f"{page.relative_to(pages)}: loads {next(filter(None, match.groups()))}")
    return found


def main(book: Path, name: str | None) -> int:
    started = time.perf_counter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as at an interrupt
    try:
        repository()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    prepare(book)
    problems, missing = execute(book, name)
    if not problems:
        print("building the pages", flush=True)
        said, failed = build_pages(book, strict=not missing)
        if said:
            forget_pages(book)
        if failed:
            problems = said
        else:
            # What is wrong with a page without outputs, or because of one, is no news.
            for line in said:
                if not line.startswith(tuple(missing)):
                    print(line)
            for page in missing:
                print(f"{page}: has no outputs, it has not run")
            problems = third_party_requests(book / "_build" / "html")
    if problems:
        print("", *problems, "\nThe book was not built: see above.", sep="\n", file=sys.stderr)
        return 1
    index = book / "_build" / "html" / "index.html"
    print(f"built in {time.perf_counter() - started:.0f} s; open {index.as_uri()}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--chapter")
    arguments = parser.parse_args()
    sys.exit(main(arguments.folder.resolve(), arguments.chapter or None))
