"""Where the Chromium is that prints the book and in which its pages are tested."""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ON_A_MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
INSTALL = """\
No Chromium or Chrome was found. Install one:
    Debian, Ubuntu   sudo apt-get install chromium
    macOS            brew install --cask chromium
    with Python      .venv/bin/python -m playwright install --with-deps chromium
or say where it is: CHROMIUM=/path/to/chromium"""


def find_browser() -> str:
    """The path of a Chromium or Chrome: $CHROMIUM, on the PATH, where macOS or playwright has it.

    Raises FileNotFoundError, whose text says how to install one.
    """
    if chosen := os.environ.get("CHROMIUM"):
        if found := shutil.which(chosen):
            return found
        raise FileNotFoundError(f"CHROMIUM is {chosen!r}, which is no program.\n{INSTALL}")
    found = [*filter(None, map(shutil.which, NAMES))]
    if sys.platform == "darwin":
        found += [path for path in ON_A_MAC if shutil.which(path)]
    if not found and os.path.exists(own := playwright_browser()):
        found = [own]
    if not found:
        raise FileNotFoundError(INSTALL)
    return found[0]


def playwright_browser() -> str:
    """Where playwright would install its own Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path
