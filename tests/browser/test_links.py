"""Every link of a page to the book itself, and every anchor, exists."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import HTML


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.addresses = {"", "top"}, set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids.add(attributes.get("id"))
        if tag == "a":
            self.ids.add(attributes.get("name"))
            self.addresses.add(attributes.get("href"))


@cache
def links(path: Path) -> Links:
    parser = Links()
    parser.feed(path.read_text("utf-8"))
    return parser


FILES = [path for path in sorted(HTML.rglob("*.html")) if "_static" not in path.parts]


@pytest.mark.parametrize("page", FILES, ids=lambda page: page.relative_to(HTML).as_posix())
def test_links(page):
    assert [address for address in links(page).addresses if not leads(page, address)] == []


def leads(page: Path, address: str | None) -> bool:
    parts = urlsplit(address or "")
    if parts.scheme or parts.netloc:
        return True  # another site
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return False
    return target.suffix != ".html" or unquote(parts.fragment) in links(target).ids
