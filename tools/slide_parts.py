"""What a slide shows, cut out of the HTML of a chapter's page."""

import re

from bs4 import Tag

LEAD = 230  # characters of text above an equation
CAPTION = 150
SENTENCE = re.compile(r"(?<=[\w)\]])\.\s+(?=[A-Z])")
CHOICE = re.compile(r"\n(?=\([a-e]\) )")  # each on a line of its own, as in the source
# "Check it with ...", and "..., and check it with ..."
CHECKED = re.compile(
    r"^<p>Check.*check_\w+\(.*</p>$"
    r"|^(?:Check|Then check|Before you check|<code>).*check_\w+\(.*?(?=(?:</p>)?$)"
    r"|(?:,| and) (?:and |then )?check (?:[\w ()]*? )?with <code>.*?check_.*?</code>",
    re.MULTILINE,
)


def figures(cell: Tag) -> list[str]:
    found = []
    for picture in cell.find_all(["img", "video"]):
        figure = picture.find_parent("figure")
        caption = figure and figure.find(class_="caption-text")
        text = f'<p class="caption">{shortened(inner(caption))}</p>' if caption else ""
        found.append(plain(picture, keep=True) + text)
    return found


def shortened(caption: str) -> str:
    """The first sentence of a caption; if it is long, what stands before its first colon."""
    first = SENTENCE.split(caption)[0].rstrip(".")
    head = re.split(r"[:;]\s", first)[0]
    return f"{head if len(text_of(first)) > CAPTION and ' ' in head else first}."


def table_of(table: Tag, lead: str) -> str:
    """A table; a long one leaves no room for what leads to it."""
    rows, shown = table.find_all("tr"), plain(table, keep=True)
    shown = re.sub(r"<td>(?=[^<]{12})", '<td class="words">', shown)
    return shown if len(rows) > 6 else lead + shown


def equation(block: Tag) -> str:
    number = block.find(class_="eqno")
    shown = f'<span class="eqno">{inner(number.extract())}</span>' if number else ""
    return f'<div class="math">{shown}{inner(block)}</div>'


def lead_of(block: Tag) -> str:
    """The last sentences before an equation or a table; a source has one in a line."""
    before = block.find_previous_sibling()
    if before is None or before.name != "p":
        return ""
    kept = []
    for line in reversed(inner(before).splitlines()):
        if kept and len(text_of(line + " ".join(kept))) > LEAD:
            break
        kept.insert(0, line)
    if len(kept) > 1 and kept[0][0].islower():  # it goes on with a sentence of the last equation
        del kept[0]
    return f"<p>{' '.join(kept)}</p>"


def exercise_title(exercise: Tag) -> str:
    number, title = inner(exercise.p).split("</span>") if exercise.p.span else ("", "")
    return f"{text_of(number).strip()}: {title.strip().strip('()')}"


def body_of(box: Tag) -> str:
    """The text of a box: without its title, its code, and the line that says how to check."""
    within = box.section or box
    parts = [one for one in within.find_all(True, recursive=False) if one.name in ("p", "ul", "ol")
             or "math" in one.get("class", ())]  # fmt: skip
    parts = [one for one in parts if "admonition-title" not in one.get("class", ())]
    text = "\n".join(equation(one) if one.name == "div" else plain(one, keep=True) for one in parts)
    text = CHECKED.sub("", text)
    return CHOICE.sub("<br>", text)


def answer_of(summary: Tag) -> str:
    found = summary.find("strong", string=re.compile("The answer")).find_parent(["li", "p"])
    return f"<p>{inner(found.p or found).replace('<strong>The answer.</strong>', '').strip()}</p>"


def plain(tag: Tag, keep: bool = False) -> str:
    """HTML without links, names and what only the page needs."""
    for one in tag.select(".headerlink, .footnote-reference, .footcite, style"):
        one.decompose()
    for one in tag.find_all("a"):
        one.unwrap()
    for one in [tag, *tag.find_all(True)]:
        if one.name not in ("img", "video", "source"):
            one.attrs = {"class": "math"} if "math" in one.get("class", ()) else {}
        one.attrs.pop("id", None)
    return str(tag) if keep else tag.decode_contents().strip()


def inner(tag: Tag | None) -> str:
    return plain(tag) if tag else ""


def text_of(markup: str) -> str:
    return re.sub(r"<[^>]+>", "", markup)
