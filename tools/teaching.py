"""Sphinx extension: downloads/NAME.zip, what a teacher takes along, each as one archive.

students      the notebooks without solutions
instructors   the notebooks with solutions and outputs, and the guide for teachers
slides        the slides of all chapters, with what they need to be shown offline
questions     each chapter's question and exercises, with answers, as Markdown and as JSON
"""

import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from book_facts import facts
from chapter_downloads import CHAPTERS, context_of, source_of
from colab import Plain
from exercises import CELL, exercises
from jupyter_cache import get_cache

QUESTION = re.compile(r"^```\{admonition\} The question\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"\*\*The answer\.\*\* (.*?)(?=\n- |\n\n)", re.DOTALL)
FIGURE = re.compile(r"^ +figure:\n +name: (\S+)$", re.MULTILINE)
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Slides</title></head>
<body style="font: 1.3rem sans-serif; margin: 2rem"><h1>Slides</h1><ol>
{items}</ol></body></html>
"""


def setup(app):
    # After those that write notebooks and slides.
    app.connect("build-finished", write_archives, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_archives(app, exception):
    if exception or app.builder.format != "html":
        return
    pages, out = Path(app.outdir), Path(app.outdir, "downloads")
    book = Path(app.srcdir)
    names = [one.page for one in facts(book) if one.page.startswith(CHAPTERS)]
    files = {name: f"{n:02}_{Path(name).name}.ipynb" for n, name in enumerate(names, 1)}
    students, instructors = {}, {"guide.md": guide(app, files)}
    runs = get_cache(book / "_build" / ".jupyter_cache")
    for name, file in files.items():
        students[file] = (pages / f"{name}-student.ipynb").read_text("utf-8")
        instructors[file] = with_outputs(pages / f"{name}.ipynb", app.env.doc2path(name), runs)
    bank = [questions(app, name) for name in names]
    asked = {
        "questions.md": as_markdown(bank),
        "questions.json": json.dumps(bank, indent=1, ensure_ascii=False),
    }
    archives = {"students": students, "instructors": instructors, "questions": asked}
    archives["slides"] = slides(pages, {name: app.env.titles[name].astext() for name in names})
    out.mkdir(exist_ok=True)
    licence = book / "LICENSE"
    for name, content in archives.items():
        if licence.exists():
            content["LICENSE"] = licence.read_text("utf-8")
        write_archive(out / f"{name}.zip", name, content)


def write_archive(path: Path, folder: str, content: dict[str, str | bytes]) -> None:
    """Writes a zip file of one folder; the same content gives the same bytes."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, data in sorted(content.items()):
            entry = ZipInfo(f"{folder}/{name}")  # its time is 1980
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, ZIP_DEFLATED)


def with_outputs(path: Path, source: str, runs) -> str:
    """The notebook at `path`, with what its chapter's last run has shown."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    last = [record.pk for record in runs.list_cache_records() if record.uri == source]
    executed = runs.get_cache_bundle(last[-1]).nb.cells if last else []
    ran = [cell for cell in executed if cell.cell_type == "code"]
    for cell in notebook.cells:
        code = cell.source.replace("@da.self_check\n", "")
        found = next((one for one in ran if one.source.strip() == code.strip()), None)
        if cell.cell_type == "code" and found:
            ran.remove(found)
            cell.outputs = [
                one for one in found.outputs if "papermill" not in "".join(one.get("data", ()))
            ]
    return nbformat.writes(notebook)


def guide(app, files: dict[str, str]) -> str:
    """The guide for teachers, whose links lead to the notebooks beside it."""
    name = "book/teaching"
    if name not in app.env.found_docs:
        return ""
    context = context_of(app, name)

    def address(target):
        page = re.match(r"\.\./(notebooks/\w+)\.md", target)
        return files.get(page[1]) if page else context.address(target)

    text = re.sub(r"</?a\b[^>]*>", "", source_of(app, name))  # downloads of the page
    return Plain(text, replace(context, address=address), []).block(text)


def questions(app, name: str) -> dict:
    """What a chapter asks, in plain Markdown."""
    source = source_of(app, name)
    plain = Plain(source, context_of(app, name), FIGURE.findall(source)).block

    def text(part):
        return plain(CELL.sub(lambda cell: f"```python\n{cell['code']}```\n", part)).strip()

    question, answer = QUESTION.search(source), ANSWER.search(source)
    return {
        "chapter": app.env.titles[name].astext(),
        "file": f"{name}.md",
        "question": text(question[1]) if question else "",
        "answer": text(answer[1]) if answer else "",
        "exercises": [
            {**vars(one), "text": text(one.text), "solution": text(one.solution)}
            for one in exercises(source)
        ],
    }


def as_markdown(bank: list[dict]) -> str:
    parts = ["# Question bank"]
    for chapter in bank:
        parts += [f"## {chapter['chapter']}", f"**The question.** {chapter['question']}"]
        parts += [f"**The answer.** {chapter['answer']}"]
        for one in chapter["exercises"]:
            parts += [f"### Exercise {one['number']}: {one['title']}", one["text"]]
            parts += [f"```python\n{one['check']}```", f"**Solution.**\n\n{one['solution']}"]
    return "\n\n".join(parts) + "\n"


def slides(pages: Path, titles: dict[str, str]) -> dict[str, str | bytes]:
    """The slides, and the files that they load, in the places where the pages have them."""
    found, items = {}, ""
    for name, title in titles.items():
        file = f"slides/{Path(name).name}.html"
        if not (pages / file).exists():
            continue
        found[file] = (pages / file).read_text("utf-8")
        items += f'<li><a href="{file}">{escape(title)}</a></li>\n'
        for image in re.findall(r'src="\.\./(_images/[^"]+)"', found[file]):
            found[image] = (pages / image).read_bytes()
    for path in (pages / "_static").rglob("*"):
        file = path.relative_to(pages).as_posix()
        if re.match(r"_static/(reveal/|mathjax/|slides\.|favicon)", file) and path.is_file():
            found[file] = path.read_bytes()
    return {**found, "index.html": INDEX.format(items=items)}
