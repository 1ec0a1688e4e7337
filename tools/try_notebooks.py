"""Runs the notebooks that lie beside the pages to their end, as a reader would.

    python tools/try_notebooks.py [--python PYTHON] [--install] [NAME ...]

PYTHON is the interpreter of the kernels (default: this one). With --install, what a notebook's
first cell would install is installed there first, from this checkout in the place of GitHub, and
must leave jax, numpy and pandas alone. NAME is cycling or notebooks/cycling; without one, all run.
Needs nbclient and nothing else of the book's tools, so that it runs where Colab does.

The exit status is 0 if no cell fails. Claims that do not hold are counted; they are no failure.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "_build" / "html"
AT_A_TIME = 2
CELL_TIMEOUT_S = 1200
LEFT_ALONE = ("jax", "jaxlib", "numpy", "pandas")
SHOWS = ("image/png", "image/svg+xml", "<video")


def versions(python: str) -> dict[str, str]:
    """The versions that an interpreter finds of what the first cell must leave alone."""
    script = f"from importlib.metadata import version as v; print(*map(v, {LEFT_ALONE}))"
    said = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    return dict(zip(LEFT_ALONE, said.stdout.split(), strict=True))


def requirements(jax_version: str, source: Path) -> list[str]:
    """What the first cell of a notebook gives to pip, with a folder in the place of GitHub."""
    cell = (ROOT / "tools" / "colab.py").read_text("utf-8")
    line = re.search(r"^%pip install --quiet (.+)$", cell, re.MULTILINE)[1]
    line = re.sub(r"git\+https:[^\"]+", source.as_uri(), line)
    return re.findall(r'"([^"]+)"', line.replace("{jax_version}", jax_version))


def install(python: str) -> None:
    """Installs what a notebook would; ends the program if this changes what was there."""
    before = versions(python)
    with tempfile.TemporaryDirectory() as folder:  # setuptools leaves files where it builds
        source = Path(folder, "assimilation")
        shutil.copytree(ROOT / "src", source / "src")
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        wanted = requirements(before["jax"], source)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    after = versions(python)
    if after != before:
        sys.exit(f"the first cell changes what is installed: {before} became {after}")


def chosen(names: list[str]) -> list[Path]:
    """The notebooks with solutions, all or those named."""
    found = sorted(
        path
        for path in (PAGES / "notebooks").glob("*.ipynb")
        if not path.stem.endswith(("-student", "-instructor"))
    )
    if not found:
        sys.exit(f"There are no notebooks in {PAGES / 'notebooks'}: run make book first.")
    known = {path.stem: path for path in found}
    wanted = [Path(name).stem for name in names] or list(known)
    if missing := sorted(set(wanted) - set(known)):
        sys.exit(f"There is no notebook {', '.join(missing)}. There are: {', '.join(known)}.")
    return [known[name] for name in wanted]


class Trial:
    """A notebook in a fresh kernel."""

    def __init__(self, path: Path, kernel: str):
        self.name = path.stem
        self.notebook = nbformat.read(path, as_version=4)
        first = next(cell for cell in self.notebook.cells if cell.cell_type == "code")
        if "%pip install" in first.source:
            first.source = "# done before, once for all notebooks"
        self.figure_after = None
        self.client = NotebookClient(
            self.notebook,
            timeout=CELL_TIMEOUT_S,
            kernel_name=kernel,
            extra_arguments=["--log-level=ERROR"],  # no notice about how the kernel is connected
            on_cell_executed=self._look_for_a_figure,
        )
        # What sliders show is a cell's output like any other here. nbclient would send the kernel
        # messages about it by the socket that waits for replies, and a reply that arrives
        # meanwhile is not seen (zeromq/pyzmq issue 1203): the notebook would wait for ever.
        self.client.widget_registry = {}

    def _look_for_a_figure(self, cell, **_):
        shown = json.dumps([output.get("data", {}) for output in cell.get("outputs", [])])
        if self.figure_after is None and any(each in shown for each in SHOWS):
            self.figure_after = time.perf_counter() - self.started

    async def run(self, environment: dict[str, str]) -> bool:
        """Runs it, says how it went, and whether it came to its end."""
        self.started, failure = time.perf_counter(), None
        try:
            await self.client.async_execute(env=environment)
        except CellExecutionError as error:
            failure = f"{error.ename}: {error.evalue}"
        except Exception as error:  # a dead kernel, for one; the others go on
            failure = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - self.started
        text = json.dumps([cell.get("outputs", []) for cell in self.notebook.cells])
        figure = f"{self.figure_after:7.0f}" if self.figure_after else "      -"
        counts = [text.count(each) for each in ('class=\\"claim-fails', "weights come from")]
        counts += [text.count("it trains here")]
        row = "".join(f"{count:9}" for count in counts)
        end = f"FAILED: {failure}" if failure else "end"
        print(f"{self.name:28}{seconds:8.0f}{figure}{row}  {end}", flush=True)
        return failure is None


async def try_all(paths: list[Path], kernel: str, environment: dict[str, str]) -> bool:
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(path):
        async with places:
            return await Trial(path, kernel).run(environment)

    return all(await asyncio.gather(*map(one, paths)))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--install", action="store_true")
    options = parser.parse_args()
    paths, python = chosen(options.names), os.path.abspath(options.python)
    if options.install:
        install(python)
    print(", ".join(f"{name} {number}" for name, number in versions(python).items()))
    print(f"{'notebook':28}{'seconds':>8}{'figure':>7}{'claims -':>9}{'fetched':>9}{'trained':>9}")
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder, "kernels", "tried", "kernel.json")
        spec.parent.mkdir(parents=True)
        start = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": start, "display_name": "tried", "language": "python"}))
        os.environ["JUPYTER_PATH"] = folder
        environment = {**os.environ, "ASSIMILATION_CACHE": str(Path(folder, "weights"))}
        environment["ASSIMILATION_WEIGHTS"] = (PAGES / "weights").as_uri()
        return 0 if asyncio.run(try_all(paths, "tried", environment)) else 1


if __name__ == "__main__":
    sys.exit(main())
