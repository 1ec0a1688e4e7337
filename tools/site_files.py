"""Sphinx extension: the way into the pages and back, their map, and nothing that is not used."""

import re
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

import social_card
from page_meta import description, meta_tags


def setup(app):
    app.setup_extension("page_meta")  # knows the address
    app.connect("build-finished", write_extras)
    app.connect("build-finished", drop_unused_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_extras(app, exception):
    """What belongs to the pages as a whole: the way in, the way back, the map, the picture."""
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    address, root = app.config.book_address, app.config.root_doc
    if root != "index":
        tree = app.env.get_doctree(root)
        head = f'<meta http-equiv="refresh" content="0; url={root}.html" />\n'
        head += meta_tags(app, "", app.config.html_title, description(tree))
        body = f'<p><a href="{root}.html">{escape(app.config.html_title)}</a></p>'
        (out / "index.html").write_text(
            PAGE.format(title=app.config.html_title, head=head, body=body)
        )
    (out / "404.html").write_text(not_found(app))
    if address:
        pages = "".join(
            f"<url><loc>{address}{name}.html</loc></url>\n" for name in sorted(app.env.found_docs)
        )
        (out / "sitemap.xml").write_text(SITEMAP.format(pages=pages))
        social_card.draw(out / social_card.PATH, app.config.html_title)
    else:  # that of an earlier build
        (out / "sitemap.xml").unlink(missing_ok=True)


def drop_unused_scripts(app, exception):
    """Leaves out what the theme loads on every page and this book does not use, 1.7 MB.

    Icons are there as a font and as a script: the font is enough. The index of the search is for
    results while one types, which are off.
    """
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    script = r'<script\b[^>]*\bsrc="[^"]*/?({})\.js[^"]*"[^>]*></script>'
    for page in out.rglob("*.html"):
        search = "" if page == out / "search.html" else "|searchtools|language_data|searchindex"
        text = page.read_text("utf-8")
        if (less := re.sub(script.format(f"fontawesome{search}"), "", text)) != text:
            page.write_text(less, "utf-8")


def not_found(app) -> str:
    """The page that GitHub Pages shows at every address without one, however deep it lies.

    So it carries its own style, and its links start from the root of the site.
    """
    start = urlsplit(app.config.book_address or "").path
    chapters = "".join(
        f'<li><a href="{start}{name}.html">{escape(app.env.titles[name].astext())}</a></li>\n'
        for name in app.env.toctree_includes.get(app.config.root_doc, [])
    )
    body = NOT_FOUND.format(start=f"{start}{app.config.root_doc}", root=start, chapters=chapters)
    title = f"No such page — {app.config.html_title}"
    return PAGE.format(title=title, head=HEAD, body=body)


# An icon of no bytes keeps the browser from asking the host for one.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>{title}</title>
<link rel="icon" href="data:," />
{head}</head>
<body>
{body}
</body>
</html>
"""
NOT_FOUND = """\
<main>
<h1>No such page</h1>
<p>Nothing is kept at this address. A page may have moved, or the link that led here has a slip.</p>
<p>From here you can go to <a href="{start}.html">the start of the book</a>, search it, or choose a
page from its contents.</p>
<form action="{root}search.html" role="search">
<label for="q">Search the book</label> <input id="q" name="q" type="search" />
<button>Search</button>
</form>
<h2>Contents</h2>
<ol>
{chapters}</ol>
</main>"""
# In the dark where the reader has chosen it on another page, or the system says so.
HEAD = """\
<script>
const chosen = localStorage.getItem("mode");
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme =
  ["light", "dark"].includes(chosen) ? chosen : dark ? "dark" : "light";
</script>
<style>
:root { color-scheme: light dark }
[data-theme="light"] { color-scheme: light }
[data-theme="dark"] { color-scheme: dark; background: #14181e; color: #ced6dd }
body { font: 1.05rem/1.6 system-ui, sans-serif }
main { max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
input, button { font: inherit; padding: 0.2rem 0.5rem }
button { background: none; border: 1px solid; border-radius: 0.25rem; color: inherit }
[data-theme="dark"] a { color: #9ecbff }
</style>
"""
SITEMAP = """\
<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{pages}</urlset>
"""
