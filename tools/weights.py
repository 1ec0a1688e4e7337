"""The networks that the chapters have trained, for notebooks that run elsewhere.

In _build/.weights, beside the files, a folder for each chapter holds a note on each that the
chapter's last run has used. `publish` puts these files and an index beside the pages.
"""

import hashlib
import json
import shutil
from pathlib import Path

from chapters import Chapter


def kept(book: Path) -> Path:
    return book / "_build" / ".weights"


def forget(book: Path, chapter: Chapter) -> None:
    """Drops the notes of a chapter, which is about to run."""
    shutil.rmtree(kept(book) / chapter.title, ignore_errors=True)


def damaged(book: Path, chapter: Chapter) -> bool:
    """Whether weights that a chapter has used are lost or bent; then it says so and drops them."""
    found = False
    for path, note in notes(book, chapter):
        if not path.exists() or digest(path) != note["sha256"]:
            print(f"{chapter.name}: {path.name} is damaged, and is trained anew", flush=True)
            path.unlink(missing_ok=True)
            found = True
    return found


def publish(book: Path, chapters: list[Chapter]) -> None:
    """Copies what the chapters have used to _build/html/weights, with an index."""
    target = book / "_build" / "html" / "weights"
    shutil.rmtree(target, ignore_errors=True)
    entries = {}
    for chapter in chapters:
        for path, note in notes(book, chapter):
            if path.exists():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
                entries[path.name] = note
    if entries:
        size = sum(note["bytes"] for note in entries.values())
        (target / "index.json").write_text(json.dumps([*entries.values()], indent=1))
        print(f"weights of {len(entries)} networks lie beside the pages, {size / 1e6:.0f} MB")


def notes(book: Path, chapter: Chapter) -> list[tuple[Path, dict]]:
    """The files of weights that a chapter has used, and what is noted about each."""
    found = []
    for path in sorted((kept(book) / chapter.title).glob("*.json")):
        note = json.loads(path.read_text("utf-8"))
        found.append((kept(book) / note["file"], note))
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
