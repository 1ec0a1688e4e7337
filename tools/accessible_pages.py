"""Sphinx extension: pages that a keyboard and a screen reader can use, without script errors."""


def setup(app):
    leave_out_thebe(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def leave_out_thebe(app):
    """Jupyter Book always loads sphinx_thebe, which this book does not use.

    It puts a script into each page twice, and declares a constant twice by that.
    """
    for event in ("env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners[event]):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)
