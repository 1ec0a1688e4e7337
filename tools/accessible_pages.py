"""Sphinx extension: pages that a keyboard and a screen reader can use, without script errors."""

import re

CELL = re.compile(r"<th(?P<attributes>(?:\s[^>]*)?)>(?P<content>.*?)</th>", re.DOTALL)
HEAD = re.compile(r"<thead>.*?</thead>", re.DOTALL)
BODY = re.compile(r"<tbody>.*?</tbody>", re.DOTALL)
PARAMETERS = re.compile(r"<dl>\n(?P<items>(?:<dd>.*?</dd>\n)+)</dl>", re.DOTALL)


def setup(app):
    leave_out_thebe(app)
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def leave_out_thebe(app):
    """Jupyter Book always loads sphinx_thebe, which this book does not use.

    It puts a script into each page twice, and declares a constant twice by that.
    """
    for event in ("env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners[event]):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)


def mend(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = accessible(context["body"])


def accessible(page: str) -> str:
    """The HTML of `page`, with what pandas and Sphinx leave out for a reader who cannot see it."""
    page = HEAD.sub(lambda match: scoped(match[0], "col"), page)
    page = BODY.sub(lambda match: scoped(match[0], "row"), page)
    # Each exercise and each solution of a page has this same id.
    page = re.sub(r'<section id="((?:exercise|solution)-content)">', r'<section class="\1">', page)
    page = page.replace('role="doc-biblioentry"', 'role="listitem"')  # they stand in a list
    return PARAMETERS.sub(as_list, page)


def scoped(rows: str, scope: str) -> str:
    """Each header cell says what it is the header of, and an empty one is none."""

    def cell(match):
        attributes = match["attributes"]
        if not re.sub(r"<p>|</p>|\s|&nbsp;", "", match["content"]):
            return f"<td{attributes}></td>"
        group = "group" if re.search(r"(?:col|row)span=", attributes) else ""
        return f'<th scope="{scope}{group}"{attributes}>{match["content"]}</th>'

    return CELL.sub(cell, rows)


def as_list(match) -> str:
    """The parameters of a long signature: Sphinx makes descriptions of them, without terms."""
    items = match["items"].replace("<dd>", "<li>").replace("</dd>", "</li>")
    return f'<ul class="parameters">\n{items}</ul>'
