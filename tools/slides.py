"""Sphinx extension: slides/NAME.html, the slides of each chapter, made from its page.

A chapter's slides have its question, its objectives, one figure, equation or table each, its
exercises without solutions, and the answer. There is no code on them.
"""

import re
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from slide_parts import (
    answer_of,
    body_of,
    equation,
    exercise_title,
    figures,
    inner,
    lead_of,
    table_of,
    text_of,
)

MOST = 20  # slides a chapter
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: slides</title>
<link rel="icon" href="../_static/favicon.svg">
<link rel="stylesheet" href="../_static/reveal/reveal.css">
<link rel="stylesheet" href="../_static/slides.css">
<script src="../_static/slides.js"></script>
<script defer src="../_static/mathjax/tex-chtml.js"></script>
<script defer src="../_static/reveal/reveal.js"></script>
</head>
<body>
<main class="reveal"><div class="slides">
{slides}
</div></main>
</body>
</html>
"""


def setup(app):
    app.connect("build-finished", write_slides)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_slides(app, exception):
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir, "slides")
    folder.mkdir(exist_ok=True)
    for name in sorted(app.env.found_docs):
        if name.startswith("notebooks/"):
            page = Path(app.outdir, f"{name}.html").read_text("utf-8")
            text = slides_of(page, app.config.html_title)
            (folder / f"{Path(name).name}.html").write_text(text, "utf-8")


def slides_of(page: str, book: str) -> str:
    """The slides that belong to the HTML of a chapter's page."""
    article = re.search(r"<article.*</article>", page, re.DOTALL)[0]
    without_code = re.sub(r"<pre>.*?</pre>", "", article, flags=re.DOTALL)
    chapter = BeautifulSoup(without_code, "html.parser").section
    title = inner(chapter.h1)
    question, objectives = chapter.find_all("div", class_="admonition", recursive=False)[:2]
    name = f'<p class="book">{escape(book)}</p><p class="keys">← and → turn the slides, '
    first = [
        slide("title", title, f'{name}<a href="?print-pdf">all for print</a></p>'),
        slide("text", "The question", body_of(question)),
        slide("text", "Objectives", body_of(objectives).split("<p><strong>Prerequisites")[0]),
    ]
    middle, last = [], []
    for section in chapter.find_all("section", recursive=False):
        heading = inner(section.h2)
        if heading == "Exercises":
            asked = section.find_all("div", class_="exercise", recursive=False)
            last += [slide("text", exercise_title(one), body_of(one)) for one in asked]
        elif heading == "Summary":
            last.append(slide("text answer", "The answer", answer_of(section)))
        elif heading != "References":
            middle += ideas(section)
    return PAGE.format(
        title=text_of(title),
        slides="\n".join(first + chosen(middle, MOST - len(first + last)) + last),
    )


def ideas(section: Tag, heading: str = "") -> list[tuple[int, str]]:
    """What a section has to show, in its order, each with its rank: 0 is never left out."""
    heading, found, tables = inner(section.find(["h2", "h3"])) or heading, [], []
    for child in section.find_all(True, recursive=False):
        if child.name == "section":
            found += ideas(child, heading)
        elif child.name == "div" and "math" in child["class"]:
            rank = 1 if child.find(class_="eqno") else 2
            found.append((rank, slide("equation", heading, lead_of(child) + equation(child))))
        elif child.find(["figure", "img", "video"]):
            found += [(0, slide("figure", heading, one)) for one in figures(child)]
        elif table := child.find("table"):
            tables.append((3, slide("table", heading, table_of(table, lead_of(child)))))
    return found or tables


def chosen(found: list[tuple[int, str]], room: int) -> list[str]:
    """The slides of the highest ranks, as many as there is room for, in their order."""
    kept = sorted(range(len(found)), key=lambda n: (found[n][0], n))[: max(room, 0)]
    return [found[n][1] for n in sorted(kept)]


def slide(kind: str, heading: str, body: str) -> str:
    level = "h1" if kind == "title" else "h2"
    return (
        f'<section class="{kind}"><{level}>{heading}</{level}>\n<div class="body">{body}</div>'
        "</section>"
    )
