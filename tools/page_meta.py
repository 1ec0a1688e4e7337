"""Sphinx extension: what a page says about itself to search engines, and to who shares or mends it.

Description and title are on every page. What needs an address (the picture of a shared link, the
site map, links to edit a page or to report a problem) is there only where the repository is known.
"""

import re
from html import escape, unescape

import social_card
from docutils import nodes
from repository import home, repository

LINKS = {"source-edit-button": "Edit this page", "source-issues-button": "Report a problem"}
LONGEST = 250  # letters of a description: about what is shown of it


def setup(app):
    app.add_config_value("book_address", None, "html")
    app.connect("config-inited", use_repository)
    app.connect("html-page-context", add_meta)
    app.connect("html-page-context", name_links, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def use_repository(app, config):
    if known := repository():
        config.html_baseurl = config.book_address = home(known)
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{known}",
            "repository_branch": "main",
            "use_edit_page_button": True,
            "use_issues_button": True,
        }


def name_links(app, pagename, templatename, context, doctree):
    for group in context.get("header_buttons", []):
        if group["label"] == "source-buttons":
            group |= {"tooltip": "Edit or report", "icon": "fas fa-pencil-alt"}
            for button in group["buttons"]:
                button["text"] = button["tooltip"] = LINKS[button["label"]]


def add_meta(app, pagename, templatename, context, doctree):
    title = unescape(re.sub("<[^>]+>", "", context.get("title", ""))) or app.config.html_title
    tree = app.env.get_doctree(app.config.root_doc) if doctree is None else doctree
    meta = meta_tags(app, f"{pagename}.html", title, description(tree))
    context["metatags"] = context.get("metatags", "") + meta


def description(doctree) -> str:
    """The first sentences of a chapter's question; of another page, of its first paragraph."""
    named = (box for box in doctree.findall(nodes.admonition) if box[0].astext() == "The question")
    paragraph = next(next(named, doctree).findall(nodes.paragraph), None)
    if paragraph is None:
        return ""
    text = " ".join(paragraph.astext().split())
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z])", text)
    said = sentences[0]
    for sentence in sentences[1:]:
        if len(said) + len(sentence) >= LONGEST:
            break
        said += f" {sentence}"
    return said


def meta_tags(app, page, title, said) -> str:
    tags = {
        "description": said,
        "og:type": "website",
        "og:site_name": app.config.html_title,
        "og:title": title,
        "og:description": said,
    }
    if address := app.config.book_address:
        tags |= {
            "og:url": f"{address}{page}",
            "og:image": f"{address}{social_card.PATH}",
            "og:image:alt": social_card.ALT,
            "twitter:card": "summary_large_image",
        }
    return "".join(
        f'<meta {"property" if name.startswith("og:") else "name"}="{name}" '
        f'content="{escape(content)}" />\n'
        for name, content in tags.items()
        if content
    )
