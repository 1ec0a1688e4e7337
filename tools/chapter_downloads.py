"""Sphinx extension: each chapter offers its source, its notebook and, where it can, Colab."""

import os
import re
import shutil
from html import escape
from importlib.metadata import version
from pathlib import Path
from posixpath import join, normpath

import nbformat
from book_facts import facts
from colab import SOLUTIONS, Context, to_notebook
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue.crossref import read_glue_cache
from pybtex.database import BibliographyData, parse_file
from pybtex.plugin import find_plugin
from repository import home, repository
from sphinx.errors import ExtensionError

CHAPTERS = "notebooks/"


def setup(app):
    # A configuration value, so that Sphinx writes the pages again when it changes.
    app.add_config_value("github_repository", repository(), "html")
    app.connect("html-page-context", add_links)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_links(app, pagename, templatename, context, doctree):
    """Puts the downloads and the times below the title of a chapter."""
    if not pagename.startswith(CHAPTERS) or "body" not in context:
        return
    name = pagename.removeprefix(CHAPTERS)
    links = [(f"{name}.ipynb", "Notebook (.ipynb)", " download")]
    if SOLUTIONS.search(source_of(app, pagename)):
        links.append((f"{name}-student.ipynb", "Notebook without solutions", " download"))
    links.append((f"{name}.md", "Source (.md)", " download"))
    if "slides" in app.extensions:
        links.append((f"../slides/{name}.html", "Slides", ""))
    if known := app.config.github_repository:
        colab = "https://colab.research.google.com/github"
        binder = f"https://mybinder.org/v2/gh/{known}/gh-pages?urlpath=lab/tree"
        links = [
            (f"{colab}/{known}/blob/gh-pages/{pagename}.ipynb", "Open in Colab", ""),
            (f"{binder}/{pagename}.ipynb", "Binder", ""),
            *links,
        ]
    items = "".join(
        f'<a class="chapter-link" href="{escape(address)}"{kind}>{text}</a>'
        for address, text, kind in links
    )
    context["body"] = context["body"].replace(
        "</h1>", f'</h1>\n<p class="chapter-links">{items}{times_of(app, pagename)}</p>', 1
    )


def times_of(app, pagename) -> str:
    for one in facts(Path(app.srcdir)):
        if one.page == pagename:
            run = f" · {one.seconds:.0f} s to run" if one.seconds else ""
            return f'<span class="chapter-times">{one.minutes} min to read{run}</span>'
    return ""


def source_of(app, name) -> str:
    return Path(app.env.doc2path(name)).read_text("utf-8")


def write_notebooks(app, exception):
    if exception or app.builder.format != "html":
        return
    known = app.config.github_repository
    write_binder(Path(app.outdir, ".binder"), known)
    for name in app.env.found_docs:
        if name.startswith(CHAPTERS):
            text, context = source_of(app, name), context_of(app, name)
            base = Path(app.outdir, name)
            base.parent.mkdir(exist_ok=True)
            base.with_suffix(".md").write_text(text, "utf-8")
            for ending, student in (("", False), ("-student", True)):
                try:
                    notebook = to_notebook(text, context, repository=known, student=student)
                except ValueError as error:
                    raise ExtensionError(f"{name}.md: {error}") from error
                nbformat.write(notebook, f"{base}{ending}.ipynb")


def write_binder(folder: Path, known: str | None) -> None:
    """What Binder installs: it starts from the branch with the pages, where the notebooks lie."""
    shutil.rmtree(folder, ignore_errors=True)
    if known:
        folder.mkdir()
        lines = [f"{name}=={version(name)}" for name in ("jax", "jaxlib", "numpy", "ipywidgets")]
        lines.append(f"assimilation @ git+https://github.com/{known}")
        (folder / "requirements.txt").write_text("\n".join(lines) + "\n")
        (folder / "runtime.txt").write_text("python-3.12\n")  # Binder's own may be too old


def context_of(app, name) -> Context:
    """What Sphinx has collected, as the notebook of page `name` needs it."""
    glue_values = read_glue_cache(app.env.mystnb_config.output_folder, name)

    def glued(content):
        key, _, form = content.partition(":")
        data = glue_values[key]["data"] if key in glue_values else {}
        if "text/markdown" in data:
            return data["text/markdown"]
        return format_plain_text(data["text/plain"], form) if "text/plain" in data else None

    titles = {label: title for label, (_, _, title) in app.env.domaindata["std"]["labels"].items()}

    def address(target):
        known = app.config.github_repository
        if not known or target.startswith("#"):
            return None
        page, _, part = target.partition("#")
        page = normpath(join(os.path.dirname(name), page))
        page = page.removesuffix(".md") + ".html" if page.endswith(".md") else page
        return f"{home(known)}{page}" + (f"#{part}" if part else "")

    for page, title in app.env.titles.items():
        titles[os.path.relpath(f"{page}.md", os.path.dirname(name))] = title.astext()
    publications = BibliographyData()
    for path in app.config.bibtex_bibfiles:
        publications.add_entries(parse_file(os.path.join(app.srcdir, path)).entries.items())
    return Context(
        glued=glued,
        cited=lambda role, keys: cited(publications, role, keys),
        references=lambda keys: references(publications, keys),
        titles=titles,
        address=address,
    )


def cited(publications, role, keys) -> str:
    """Author and year in the place of a citation."""
    texts = []
    for key in keys.replace(" ", "").split(","):
        entry = publications.entries[key]
        people = [
            " ".join(map(str, person.rich_prelast_names + person.rich_last_names))
            for person in entry.persons["author"]
        ]
        authors = " and ".join(people) if len(people) < 3 else f"{people[0]} et al."
        year = entry.fields["year"]
        texts.append(f"{authors} ({year})" if role == "cite:t" else f"{authors}, {year}")
    return "; ".join(texts) if role == "cite:t" else f"({'; '.join(texts)})"


def references(publications, keys) -> str:
    entries = [publications.entries[key] for key in keys]
    formatted = find_plugin("pybtex.style.formatting", "plain")().format_entries(entries)
    markdown = find_plugin("pybtex.backends", "markdown")()
    lines = [f"- {entry.text.render(markdown)}" for entry in formatted]
    return re.sub(r"\\([.()#+-])", r"\1", "\n".join(lines))  # escapes that Markdown does not need
