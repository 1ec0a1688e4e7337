"""The built pages in a browser: `make browser`, after `make book`.

site     the address of the pages, which lie in a folder of their host, as on GitHub
browser  Chromium without a window, one for each process of the test run
page     an empty tab; the test fails if what it opens there goes wrong
open_page  opens a page of the site in such a tab, in "light" or "dark", and waits for its maths
"""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import find_browser
from playwright.sync_api import sync_playwright

HTML = Path(__file__).parents[2] / "_build" / "html"
FOLDER = "/book/"
# Those in the book's layout: not the slides, nor the ways in (index) and back (404).
PAGES = sorted(
    path.relative_to(HTML).as_posix()
    for folder in (".", "book", "notebooks")
    for path in (HTML / folder).glob("*.html")
    if path.name not in {"index.html", "404.html"}
)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
WIDE = {"viewport": {"width": 1280, "height": 900}}

BARRIERS = {"serious", "critical"}

# What fades in or changes its colour slowly is judged at the end of it.
STILL = """() => {
  const still = new CSSStyleSheet()
  still.replaceSync("* { transition: none !important; animation: none !important }")
  document.adoptedStyleSheets.push(still)
}"""


def pytest_collection_modifyitems(items):
    if items and not (HTML / "index.html").exists():
        pytest.exit(f"there are no pages in {HTML}: run `make book` first", returncode=1)


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def translate_path(self, path):
        inside = path.startswith(FOLDER)
        return super().translate_path("/" + path.removeprefix(FOLDER) if inside else "/none")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=HTML)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{FOLDER}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    path = find_browser()
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield program
        program.close()


@pytest.fixture
def screen():
    """What `page` is shown on; a test on a phone is parametrised with PHONE."""
    return WIDE


@pytest.fixture
def page(browser, site, screen):
    context = browser.new_context(**screen)
    tab = context.new_page()
    trouble = []

    def note_request(request):
        if not request.url.startswith((site, "data:", "blob:")):
            trouble.append(f"asks elsewhere: {request.url}")

    def note_response(response):
        if response.status >= 400:
            trouble.append(f"{response.status}: {response.url}")

    def note_console(message):
        if message.type == "error":
            trouble.append(f"console: {message.text}")

    tab.on("request", note_request)
    tab.on("response", note_response)
    tab.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
    tab.on("console", note_console)
    tab.on("pageerror", lambda error: trouble.append(f"script: {error}"))
    yield tab
    context.close()
    assert not trouble


@pytest.fixture
def open_page(page, site):
    def open_(name, *, theme="light"):
        page.emulate_media(color_scheme=theme)
        page.goto(site + name, wait_until="load")
        page.evaluate("() => window.MathJax?.startup?.promise")
        return page

    return open_


def barriers(page, **options) -> list[str]:
    """What axe finds serious or critical on a page."""
    # Without preload: axe would look for imported style sheets in the wrong folder.
    options = {"resultTypes": ["violations"], "preload": False, **options}
    found = Axe().run(page, options=options).response
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in BARRIERS
        for node in rule["nodes"]
    ]
