"""Sphinx extension: docstrings are plain text with `code` in backticks, not reStructuredText."""

import re


def setup(app):
    app.connect("autodoc-process-docstring", to_rst)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def to_rst(app, what, name, obj, options, lines):
    """Escapes |norms|, *stars* and trailing_ names; a `name` in backticks becomes code."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]+`)", line)
        for index, part in enumerate(parts):
            code = part.startswith("`") and part.endswith("`") and len(part) > 1
            parts[index] = f"`{part}`" if code else re.sub(r"([|*\\])|_(?=\W|$)", r"\\\g<0>", part)
        lines[number] = "".join(parts)
