"""Prints the built pages as one PDF, by a browser; no LaTeX is needed.

    python tools/print_book.py [FOLDER]

FOLDER is that of the book (default: this repository). Its pages must have been built. The solutions
come at the end, folded code stays out, and a film is shown by its last frame.
"""

import argparse
import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
from browser import find_browser
from playwright.sync_api import Page, sync_playwright

TOOLS = Path(__file__).parent
FILM = re.compile(r'<video\b[^>]*?aria-label="([^"]*)"[^>]*?base64,([^"]*)"[^>]*></video>')
NUMBERS = """<div style="font-size: 8px; width: 100%; text-align: center">
<span class="pageNumber"></span></div>"""


def still(film: re.Match) -> str:
    """The last frame of a film, as an image in its place."""
    with tempfile.TemporaryDirectory() as folder:
        path, frame = Path(folder, "film.mp4"), Path(folder, "frame.png")
        path.write_bytes(base64.b64decode(film[2]))
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-sseof", "-1"]
        subprocess.run([*command, "-i", path, "-update", "1", frame], check=True)
        picture = base64.b64encode(frame.read_bytes()).decode()
    return f'<img alt="{film[1]}" src="data:image/png;base64,{picture}">'


def compose(page: Page, pages: Path, root: str) -> None:
    """Shows in `page` all pages of the folder `pages`, which begin with the file `root`, as one."""
    page.goto((pages / root).as_uri())
    page.add_script_tag(path=TOOLS / "print_book.js")
    names = page.evaluate("start", root)
    page.add_style_tag(path=TOOLS / "print_book.css")
    for name in names:
        html = FILM.sub(still, (pages / name).read_text("utf-8"))
        page.evaluate("([name, html]) => add(name, html)", [name, html])
    if missing := page.evaluate("finish()"):
        raise FileNotFoundError(f"These pictures are missing: {', '.join(missing)}")


def print_book(pages: Path, root: str, pdf: Path) -> None:
    """Prints the pages into the file `pdf`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        compose(page, pages, root)
        page.pdf(
            path=pdf,
            format="A4",
            margin=dict.fromkeys(("top", "bottom", "left", "right"), "18mm"),
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=NUMBERS,
            print_background=True,
            outline=True,
            tagged=True,
        )
        browser.close()


def offer(page: Path, pdf: Path) -> None:
    """Puts a link to the PDF below the title of a page, once."""
    address = os.path.relpath(pdf, page.parent)
    text = page.read_text("utf-8")
    if f'href="{address}"' not in text:
        link = f'<a class="chapter-link" href="{address}" download>The whole book (.pdf)</a>'
        before, article, after = text.partition("<article")
        links = f'</h1>\n<p class="chapter-links">{link}</p>'
        page.write_text(before + article + after.replace("</h1>", links, 1), "utf-8")


def main(book: Path) -> int:
    started = time.perf_counter()
    pages = book / "_build" / "html"
    if not (index := pages / "index.html").exists():
        print("There are no pages to print: run `make book` first.", file=sys.stderr)
        return 1
    moved = re.search(r'url=([^"]+)"', index.read_text("utf-8"))
    root, pdf = moved[1] if moved else "index.html", pages / "assimilation.pdf"
    try:
        print_book(pages, root, pdf)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    offer(pages / root, pdf)
    size = pdf.stat().st_size / 2**20
    print(f"printed in {time.perf_counter() - started:.0f} s, {size:.1f} MB: {pdf}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1])
    sys.exit(main(parser.parse_args().folder.resolve()))
