"""Sphinx extension: what the book can count about itself.

{count}`claims`, {count}`exercises`, {count}`chapters`, {count}`hours`   a number in a sentence
```{claims}```                                       every claim that the chapters have checked
"""

import html
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from posixpath import dirname, relpath

import chapters
from colab import SOLUTIONS
from docutils import nodes
from jupyter_cache import get_cache
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

CLAIM = re.compile(r'<p class="claim" id="(?P<anchor>claim-\w+)">✓ (?P<text>.*?)</p>', re.DOTALL)
FENCED_CODE = re.compile(r"^```\{code-cell\}.*?^```$", re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
WORDS_A_MINUTE = 180  # slow prose with formulas; what is folded is not counted
logger = logging.getLogger(__name__)


def setup(app):
    app.add_role("count", Count())
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


@dataclass
class Facts:
    """What a chapter claims, and how long it takes."""

    page: str  # notebooks/cycling
    claims: list[tuple[str, str]]  # anchor and sentence
    exercises: int
    minutes: int  # to read
    seconds: float  # to run; 0 if it has not run


@cache
def facts(book: Path) -> list[Facts]:
    """Of each chapter, in reading order, from its source and from its last run."""
    runs = get_cache(book / "_build" / ".jupyter_cache")
    return [of_chapter(chapter, runs) for chapter in chapters.chapters(book, runs)]


def of_chapter(chapter: chapters.Chapter, runs) -> Facts:
    try:
        record = runs.match_cache_notebook(chapter.notebook)
        cells = runs.get_cache_bundle(record.pk).nb.cells
        seconds = record.data.get("execution_seconds", 0)
    except KeyError:  # it has not run
        cells, seconds = [], 0
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    claims = [(match["anchor"], html.unescape(match["text"])) for match in CLAIM.finditer(shown)]
    text = chapter.path.read_text("utf-8")
    page = chapter.name.removesuffix(".md")
    return Facts(page, claims, text.count("{exercise-start}"), reading_minutes(text), seconds)


def reading_minutes(text: str) -> int:
    """From the number of words of a chapter's prose, without code and solutions."""
    prose = FENCED_CODE.sub("", SOLUTIONS.sub("", FRONT_MATTER.sub("", text)))
    return max(1, round(len(re.findall(r"\w+", prose)) / WORDS_A_MINUTE))


class Count(SphinxRole):
    def run(self):
        self.env.note_reread()
        every = facts(Path(self.env.srcdir))
        walk = [one for one in every if one.page.startswith("notebooks/")]
        counts = {
            "claims": sum(len(one.claims) for one in every),
            "exercises": sum(one.exercises for one in walk),
            "chapters": len(walk),
            "hours": round(sum(one.minutes for one in walk) / 60),
        }
        if self.text not in counts:
            logger.warning("count knows %s, not %s", ", ".join(counts), self.text)
        return [nodes.Text(str(counts.get(self.text, "")))], []


class Claims(SphinxDirective):
    def run(self):
        self.env.note_reread()
        found = []
        for one in facts(Path(self.env.srcdir)):
            if one.claims:
                found.append(self.of_chapter(one))
        return found

    def of_chapter(self, one: Facts) -> nodes.section:
        anchors = [anchor for anchor, _ in one.claims]
        for anchor, claim in one.claims:
            if anchors.count(anchor) > 1:
                logger.warning("%s.md makes this claim twice: %s", one.page, claim)
        address = f"{relpath(one.page, dirname(self.env.docname))}.html"
        source = Path(self.env.srcdir, f"{one.page}.md").read_text("utf-8")
        title = re.search(r"^# (.+)$", FENCED_CODE.sub("", source), re.MULTILINE)[1]
        section = nodes.section(ids=[nodes.make_id(one.page)])
        heading = nodes.title()
        heading += nodes.reference("", title, refuri=address, internal=True)
        heading += nodes.Text(f" ({len(one.claims)})")
        items = nodes.bullet_list(classes=["claims"])
        for anchor, claim in one.claims:
            link = nodes.reference("", claim, refuri=f"{address}#{anchor}", internal=True)
            items += nodes.list_item("", nodes.paragraph("", "", link))
        return section.__iadd__([heading, items])
