"""Formats and lints the code cells of chapters, which ruff does not find in Markdown.

python tools/format_chapters.py [--check] [PAGE.md ...]
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "notebooks").glob("*.md")), ROOT / "book" / "intro.md"]
# A cell: its fence, options as `:key: value` lines or between lines of dashes, and its code.
CELL = re.compile(
    r"(?P<head>^```\{code-cell\}.*\n(?:---\n(?:.*\n)*?---\n|(?::.*\n)*\n*))(?P<code>(?:.*\n)*?)(?=```$)",
    re.MULTILINE,
)


def main(check: bool, pages: list[Path]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for page in pages:
            cells = [new_code_cell(m["code"].rstrip()) for m in CELL.finditer(page.read_text())]
            nbformat.write(new_notebook(cells=cells), Path(folder, f"{page.stem}.ipynb"))
        ruff = [str(Path(sys.executable).with_name("ruff"))]
        config = ["--config", str(ROOT / "pyproject.toml"), "--quiet", folder]
        subprocess.run([*ruff, "format", *config], check=True)
        # Imports of a chapter stand where they are needed, and figures end with a semicolon.
        ignored = ["--ignore", "E402,E501,E703,E731,B018,B023,B905,C408,SIM300"]
        lint = subprocess.run([*ruff, "check", *ignored, *config[:2], folder])
        changed = []
        for page in pages:
            notebook = nbformat.read(Path(folder, f"{page.stem}.ipynb"), as_version=4)
            sources = iter(cell.source for cell in notebook.cells)
            text = page.read_text()
            formatted = CELL.sub(lambda m, s=sources: f"{m['head']}{next(s)}\n", text)
            if formatted != text:
                changed.append(str(page.relative_to(ROOT)))
                if not check:
                    page.write_text(formatted)
    for name in changed:
        print(f"{name}: {'is not formatted' if check else 'formatted'}")
    return bool(lint.returncode or (check and changed))


if __name__ == "__main__":
    names = [Path(name).resolve() for name in sys.argv[1:] if name != "--check"]
    sys.exit(main("--check" in sys.argv[1:], names or PAGES))
