"""Executes the chapters, builds the pages, and says what is wrong with either.

    python tools/build_book.py [FOLDER]

FOLDER holds _config.yml and _toc.yml (default: this repository). The exit status is 0 only if every
cell ran, Sphinx had nothing to warn about, and no page asks another site for anything.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import is_myst_markdown_notebook, myst_nb_reader_plugin
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from sphinx_external_toc.parsing import parse_toc_yaml

CELL_TIMEOUT_S = 600
# A pinned jaxlib has no GPU support and says so in the output on a machine with a GPU.
# A progress bar is for a reader who waits: in a page it is noise. Sweeps over seeds spread
# over all devices, and each core can be one. XLA's pool (NPROC) must then have more threads than
# devices: a large matrix product holds one while it waits for its parts, and hangs if all wait.
CHAPTER_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": str(os.cpu_count()),
    "NPROC": str(2 * os.cpu_count()),
    "TQDM_DISABLE": "1",
}


def chapters(book: Path) -> list[Path]:
    """The pages with code, in reading order. A missing page is for Sphinx to name."""
    pages = [book / f"{name}.md" for name in parse_toc_yaml(book / "_toc.yml")]
    return [
        page
        for page in pages
        if page.exists() and is_myst_markdown_notebook(page.read_text("utf-8"))
    ]


def fingerprint(book: Path) -> str:
    """Changes when something other than a chapter's own code may change what the chapter prints."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {CHAPTER_ENVIRONMENT}".encode())
    for path in [*sorted((book / "src").rglob("*.py")), book / "constraints.txt"]:
        if path.exists():
            digest.update(str(path.relative_to(book)).encode() + path.read_bytes())
    return digest.hexdigest()


def open_cache(book: Path):
    """The executed chapters of earlier builds, emptied if they no longer hold."""
    folder = book / "_build" / ".jupyter_cache"
    stamp = folder / "fingerprint.txt"
    wanted = fingerprint(book)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        forget_pages(book)
        folder.mkdir(parents=True)
        stamp.write_text(wanted)
    return get_cache(folder)


def forget_pages(book: Path) -> None:
    """Makes Sphinx read every page again: it does not repeat the warnings of a page it has read."""
    shutil.rmtree(book / "_build" / ".doctrees", ignore_errors=True)


def execute(path: Path, label: str, cache) -> str | None:
    """Runs one chapter unless the cache has it. Returns what went wrong, if anything did."""
    notebook = myst_nb_reader_plugin(str(path))
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        pass
    else:
        print(f"{label}: unchanged", flush=True)
        return None

    code_cells = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    started = time.perf_counter()
    running = {"index": 0}

    def show_progress(cell, cell_index):
        if cell.cell_type == "code":
            running["index"] = cell_index
            if sys.stdout.isatty():
                number = code_cells.index(cell_index) + 1
                print(f"\r{label}: cell {number} of {len(code_cells)}", end="", flush=True)

    print(f"{label}: running", end="" if sys.stdout.isatty() else "\n", flush=True)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=show_progress,
        record_timing=False,  # the times would become part of what the cache compares
        extra_arguments=["--log-level=ERROR"],  # no notice about how the kernel is connected
    )
    failure = None
    try:
        client.execute()
    except CellExecutionError as error:
        outputs = notebook.cells[running["index"]].outputs
        lines = [line for output in outputs for line in output.get("traceback", [])]
        failure = "\n".join(lines) or f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        failure = f"{type(error).__name__}: {error}"
    except AssertionError:  # nbclient has met an interrupt by removing its kernel
        sys.exit(f"\n{label}: interrupted")
    seconds = time.perf_counter() - started
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}{label}: {'FAILED after' if failure else 'ran in'} {seconds:.0f} s", flush=True)

    if failure is None:
        bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        return None
    index = running["index"]
    lines = notebook.cells[index].source.splitlines()
    shown = "\n".join(f"    {line}" for line in lines[:8] + ["..."] * (len(lines) > 8))
    where = f"code cell {code_cells.index(index) + 1} of {len(code_cells)}"
    line_number = notebook.metadata.source_map[index] + 1
    return f"{without_colours(failure)}\n\n{label}, line {line_number}: {where} failed:\n{shown}"


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def build_pages(book: Path) -> list[str]:
    """Turns the executed chapters into HTML. Returns Sphinx's warnings and errors."""
    program = str(Path(sys.executable).with_name("jupyter-book"))
    result = subprocess.run(
        [program, "build", str(book), "-n", "-W", "--keep-going", "-q"],
        capture_output=True,
        text=True,
    )
    said = without_colours(result.stderr or (result.stdout if result.returncode else ""))
    return [line.replace(f"{book}{os.sep}", "") for line in said.splitlines() if line]


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


def main(book: Path) -> int:
    os.environ.update(CHAPTER_ENVIRONMENT)
    started = time.perf_counter()
    cache = open_cache(book)
    paths = chapters(book)
    # One after another: jax uses both cores of a small machine, and the chapters time themselves.
    labels = [f"[{n}/{len(paths)}] {path.relative_to(book)}" for n, path in enumerate(paths, 1)]
    problems = [execute(path, label, cache) for path, label in zip(paths, labels, strict=True)]
    problems = [problem for problem in problems if problem]
    if not problems:
        print("building the pages", flush=True)
        problems = build_pages(book) or third_party_requests(book / "_build" / "html")
        if problems:
            forget_pages(book)
    if problems:
        print("", *problems, "\nThe book was not built: see above.", sep="\n", file=sys.stderr)
        return 1
    index = book / "_build" / "html" / "index.html"
    print(f"built in {time.perf_counter() - started:.0f} s; open {index.as_uri()}")
    return 0


if __name__ == "__main__":
    default = Path(__file__).parents[1]
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else default).resolve()))
