"""Sphinx extension: a figure named fig-view-NAME gets sliders where scripts run.

The picture that `assimilation.views.NAME` has drawn stays in the page for readers without scripts,
and for print. _static/views/NAME.js draws the same, with the sliders of that function.
"""

import json
import re
from html import escape

from assimilation import views

FIGURE = re.compile(r'<figure\b[^>]*\bid="fig-view-(?P<name>[\w-]+)"[^>]*>')


def setup(app):
    app.connect("html-page-context", add_views)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_views(app, pagename, templatename, context, doctree):
    """Puts a place for the script into each such figure, and the scripts into that page only."""
    names = [name.replace("-", "_") for name in FIGURE.findall(context.get("body", ""))]
    if not names:
        return
    context["body"] = FIGURE.sub(lambda figure: figure[0] + place(figure["name"]), context["body"])
    app.add_css_file("views/view.css")
    for script in ("view", *names):
        app.add_js_file(f"views/{script}.js", loading_method="defer")


def place(label: str) -> str:
    name = label.replace("-", "_")
    sliders = escape(json.dumps(views.sliders(getattr(views, name)), ensure_ascii=False))
    return f'\n<div class="view" data-view="{name}" data-sliders="{sliders}" hidden></div>'
