"""The chapters of a book, and what earlier builds have left of them in _build.

.jupyter_cache   the executed chapters
.compiled        what XLA has compiled for them: JAX's persistent compilation cache
.weights         the networks that they have trained
"""

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from jupyter_cache import get_cache
from myst_nb.core.read import is_myst_markdown_notebook, myst_nb_reader_plugin
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml
from sqlalchemy.exc import DatabaseError

COMPILED_BYTES = 1_000_000_000
# A pinned jaxlib has no GPU support and says so in the output on a machine with a GPU.
# A progress bar is for a reader who waits: in a page it is noise. Sweeps over seeds spread
# over all devices, and each core can be one. XLA's pool (NPROC) must then have more threads than
# devices: a large matrix product holds one while it waits for its parts, and hangs if all wait.
# All that is compiled is kept, since keeping costs little. JAX compiles anew what it cannot read
# among it, and says so in the output, where it would fail the build.
CHAPTER_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": str(os.cpu_count()),
    "NPROC": str(2 * os.cpu_count()),
    "TQDM_DISABLE": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONWARNINGS": "ignore:Error reading persistent,ignore:Error writing persistent",
}


@dataclass
class Chapter:
    """A page with code."""

    path: Path
    name: str  # its path in the book: notebooks/cycling.md
    notebook: NotebookNode
    alone: bool  # it times what it computes, so nothing else may run meanwhile
    seconds: float  # what its last run took; before the first, what it says itself

    @property
    def title(self) -> str:
        """What CHAPTER= calls it: cycling."""
        return self.path.stem


def chapters(book: Path, cache) -> list[Chapter]:
    """The pages with code, in reading order. A missing page is for Sphinx to name."""
    last = {record.uri: record.data for record in cache.list_cache_records()}
    found = []
    for page in parse_toc_yaml(book / "_toc.yml"):
        path = book / f"{page}.md"
        if not path.exists() or not is_myst_markdown_notebook(path.read_text("utf-8")):
            continue
        notebook = myst_nb_reader_plugin(str(path))
        said = {"alone": False, "seconds": 0, **notebook.metadata.get("build", {})}
        if set(said) != {"alone", "seconds"}:
            sys.exit(f"{page}.md: build: in the front matter knows alone and seconds, not {said}")
        seconds = last.get(str(path), {}).get("execution_seconds") or said["seconds"]
        found.append(Chapter(path, f"{page}.md", notebook, said["alone"], seconds))
    return found


def named(name: str, among: list[Chapter]) -> Chapter:
    """The chapter that CHAPTER= means: cycling, cycling.md or notebooks/cycling.md."""
    for chapter in among:
        if name in (chapter.title, chapter.path.name, chapter.name):
            return chapter
    names = ", ".join(chapter.title for chapter in among)
    sys.exit(f"There is no chapter {name}. The chapters are: {names}.")


def fingerprint(book: Path, *, package: bool) -> str:
    """Changes when something other than a chapter's own code may change what the chapter prints.

    Without `package` it is about the installed versions alone.
    """
    digest = hashlib.sha256(f"{sys.version_info[:2]} {CHAPTER_ENVIRONMENT}".encode())
    sources = sorted((book / "src").rglob("*.py")) if package else []
    for path in [*sources, book / "constraints.txt"]:
        if path.exists():
            digest.update(str(path.relative_to(book)).encode() + path.read_bytes())
    return digest.hexdigest()


def open_cache(book: Path):
    """The executed chapters of earlier builds, emptied when other versions are installed."""
    folder = book / "_build" / ".jupyter_cache"
    for package, stamp in ((False, folder / "installed.txt"), (True, folder / "package.txt")):
        wanted = fingerprint(book, package=package)
        if not stamp.exists() or stamp.read_text() != wanted:
            if not package:
                shutil.rmtree(folder, ignore_errors=True)
            forget_pages(book)
            folder.mkdir(parents=True, exist_ok=True)
            stamp.write_text(wanted)
    cache = get_cache(folder)
    try:
        records = cache.list_cache_records()
    except DatabaseError:
        print("the kept outputs of the chapters are damaged: all chapters run again", flush=True)
        shutil.rmtree(folder)
        return open_cache(book)
    for record in records:
        try:
            cache.get_cache_bundle(record.pk)
        except Exception:  # whatever a parser says about a file that is cut or bent
            name = os.path.relpath(record.uri, book)
            print(f"{name}: its kept outputs are damaged, it runs again", flush=True)
            cache.remove_cache(record.pk)
    return cache


def ran_with(chapter: Chapter, cache) -> str | None:
    """The fingerprint with which this very code has run; None if it has not."""
    try:
        return cache.match_cache_notebook(chapter.notebook).data.get("fingerprint")
    except KeyError:
        return None


def forget_pages(book: Path) -> None:
    """Makes Sphinx read every page again: it does not repeat the warnings of a page it has read."""
    shutil.rmtree(book / "_build" / ".doctrees", ignore_errors=True)


def forget_page(book: Path, chapter: Chapter) -> None:
    """Makes Sphinx read one page again: it does so if the text is new, not if the outputs are."""
    page = Path(chapter.name).with_suffix(".doctree")
    (book / "_build" / ".doctrees" / page).unlink(missing_ok=True)


def prepare(book: Path) -> None:
    """Sets the variables that chapters run with, and bounds what is kept for them."""
    compiled = book / "_build" / ".compiled" / processor()
    os.environ.update(
        CHAPTER_ENVIRONMENT,
        JAX_COMPILATION_CACHE_DIR=str(compiled),
        ASSIMILATION_CACHE=str(book / "_build" / ".weights"),
    )
    os.environ.pop("ASSIMILATION_WEIGHTS", None)  # the book trains what it publishes
    drop_oldest(compiled.parent, COMPILED_BYTES)


def drop_oldest(folder: Path, size: int) -> None:
    """Deletes the files in `folder` that were used longest ago, until `size` bytes are left."""
    files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    files.sort(key=lambda entry: max(entry[1].st_atime, entry[1].st_mtime), reverse=True)
    total = 0
    for path, status in files:
        total += status.st_size
        if total > size:
            path.unlink()


def processor() -> str:
    """Names a kind of processor: code that was compiled for one may fail on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "any"
    features = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return hashlib.sha256("".join(sorted(features)).encode()).hexdigest()[:16]
