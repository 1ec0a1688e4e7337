"""Every page: in the light, in the dark and on a phone."""

from urllib.parse import unquote, urlsplit

import pytest
from conftest import FOLDER, HTML, PAGES, PHONE, STILL, WIDE, barriers

HEAVIEST = 3_000_000  # bytes, as they lie on the disk: a server that compresses sends fewer

# Code has thousands of words in a few colours: one word of each colour on each ground is enough
# for axe, which takes a minute for all of them. What is folded has to be seen.
UNFOLD = """() => {
  document.querySelectorAll("details").forEach(fold => fold.open = true)
  document.querySelectorAll(".toggle-button-hidden").forEach(button => button.click())
  const seen = new Set()
  for (const word of document.querySelectorAll("div.highlight pre span, dt.sig span")) {
    const ground = word.closest(".cell_input, .cell_output, .admonition, dt")?.className
    const kind = `${word.className} ${ground}`
    if (seen.has(kind)) word.replaceWith(word.textContent)
    else seen.add(kind)
  }
}"""

WRONG_IN_THE_MARKUP = """() => {
  const wrong = []
  const ids = new Set()
  for (const {id} of document.querySelectorAll("[id]")) {
    if (ids.has(id)) wrong.push(`twice: #${id}`)
    ids.add(id)
  }
  for (const image of document.querySelectorAll("img:not([alt]), main img[alt='']")) {
    wrong.push(`says not what it shows: ${image.src}`)
  }
  for (const table of document.querySelectorAll("main table:not(.indextable)")) {
    if (!table.querySelector("th")) wrong.push(`has no header: ${table.outerHTML.slice(0, 200)}`)
  }
  const maths = document.querySelectorAll(".math").length
  if (document.querySelectorAll(".math > mjx-container").length < maths) {
    wrong.push("formulas that are not set")
  }
  for (const error of document.querySelectorAll("mjx-merror")) wrong.push(error.textContent)
  const prose = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT)
  while (prose.nextNode()) {
    const {data, parentElement} = prose.currentNode
    const code = parentElement.closest("pre, code, script, style")
    if (!code && /\\\\[(\\[]|\\$\\$/.test(data)) wrong.push(`raw formula: ${data.slice(0, 200)}`)
  }
  return wrong
}"""

LOADED = """() => [
  location.href,
  ...performance.getEntriesByType("resource").map(entry => entry.name),
  ...[...document.querySelectorAll("[src]")].map(element => element.src),
]"""

# The theme waits 0.3 s for the end of a change, then sees what scrolls.
SETTLED = """() => new Promise(
  done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 400)))
)"""

# Formulas are half of what is on a page, and axe finds no text in them.
WITHOUT_FORMULAS = "() => document.querySelectorAll('mjx-container > *').forEach(e => e.remove())"

TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("name", PAGES)
def test_page(page, open_page, name):
    page.set_viewport_size(PHONE["viewport"])
    open_page(name)
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.evaluate(WRONG_IN_THE_MARKUP) == []
    assert weight(page) <= HEAVIEST
    page.evaluate(STILL)
    page.evaluate(UNFOLD)
    page.evaluate(SETTLED)
    assert page.evaluate(TOO_WIDE) <= 0
    assert barriers(page, runOnly=["scrollable-region-focusable"]) == []
    page.evaluate(WITHOUT_FORMULAS)
    page.set_viewport_size(WIDE["viewport"])
    assert barriers(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    assert barriers(page, runOnly=["color-contrast"]) == []  # nothing else has changed


def weight(page) -> int:
    """The bytes of a page and of all that it loads."""
    addresses = {urlsplit(address) for address in page.evaluate(LOADED)}
    paths = {HTML / unquote(a.path).removeprefix(FOLDER) for a in addresses if a.scheme == "http"}
    return sum(path.stat().st_size for path in paths)
