"""Slides from a page, and the archives of a small book."""

import json
import zipfile

import nbformat
import yaml
from slides import chosen, slides_of
from teaching import write_archive
from test_build_book import ROOT, build, cell

PAGE = r"""<html><article class="bd-article">
<section id="a"><h1>A title<a class="headerlink">#</a></h1>
<div class="admonition"><p class="admonition-title">The question</p><p>How <a href="b.html">far</a>?
(a) Near.
(b) Far.</p></div>
<div class="tip admonition"><p class="admonition-title">Objectives</p><p>You can</p>
<ul><li><p>measure.</p></li></ul><p><strong>Prerequisites</strong>: none.</p></div>
<section id="i"><h2>The idea<a class="headerlink">#</a></h2>
<p>which ends the sentence before.
With a distance <span class="math notranslate">\(d\)</span>,</p>
<div class="math notranslate" id="equation-d">
<span class="eqno">(1)<a class="headerlink">#</a></span>\[
d < 1\]</div>
<div class="cell"><div class="cell_input"><pre>secret_code()</pre></div><div class="cell_output">
<figure><img alt="Two dots" src="../_images/x.png">
<figcaption><p><span class="caption-text">Two dots.
They are far apart.</span></p></figcaption></figure></div></div>
<section id="t"><h3>In numbers</h3><div class="cell"><pre>table</pre><table><tr><td>1</td></tr>
<tr><td>more than twelve letters</td></tr></table></div></section></section>
<section id="exercises"><h2>Exercises</h2>
<div class="exercise admonition"><p class="admonition-title"><span class="caption-number">Exercise 7
</span> (Twice)</p>
<section id="exercise-content"><p>Double it, and check it with <code>check_it(x)</code>.
Check it with <code>check_it(x)</code>.</p>
<div class="cell"><pre>def check_it(x)</pre></div></section></div>
<div class="solution admonition"><p class="admonition-title">Solution</p>
<p>It is four.</p></div></section>
<section id="s"><h2>Summary</h2><ul><li><p><strong>The answer.</strong> Far.</p></li>
<li><p>The rest.</p></li></ul></section>
<section id="r"><h2>References</h2><p>A book</p></section></section></article></html>
"""


def test_slides_show_the_argument_of_a_page_and_no_solution():
    show = slides_of(PAGE, "The book").split("<section ")
    assert [part.split('"')[1] for part in show[1:]] == [
        "title", "text", "text", "equation", "figure", "table", "text", "text answer",
    ]  # fmt: skip
    _, title, question, objectives, equation, figure, table, exercise, answer = show
    assert "<h1>A title</h1>" in title
    assert "<p>How far?<br>(a) Near.<br>(b) Far.</p>" in question
    assert "measure." in objectives
    assert "Prerequisites" not in objectives
    assert r'<p>With a distance <span class="math">\(d\)</span>,</p>' in equation
    assert r'<div class="math"><span class="eqno">(1)</span>\[' in equation
    assert "d &lt; 1" in equation
    assert '<img alt="Two dots" src="../_images/x.png"/><p class="caption">Two dots.</p>' in figure
    assert "<h2>In numbers</h2>" in table
    assert "<td>1</td>" in table
    assert '<td class="words">more' in table
    assert "<h2>Exercise 7: Twice</h2>" in exercise
    assert "<p>Double it.\n</p>" in exercise
    assert "<p>Far.</p>" in answer
    for left_out in ("secret_code", "def check", "It is four", "The rest", "A book", "<a class"):
        assert left_out not in "".join(show)


def test_what_matters_most_gets_a_slide_and_keeps_its_place():
    found = [(2, "plain"), (0, "figure"), (1, "numbered"), (0, "film"), (1, "last")]
    assert chosen(found, 3) == ["figure", "numbered", "film"]
    assert chosen(found, 9) == ["plain", "figure", "numbered", "film", "last"]
    assert chosen(found, -1) == []


def test_an_archive_of_the_same_files_has_the_same_bytes(tmp_path):
    write_archive(tmp_path / "one.zip", "x", {"b": "2", "a": b"1"})
    write_archive(tmp_path / "two.zip", "x", {"a": "1", "b": "2"})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["x/a", "x/b"]
        assert archive.getinfo("x/a").date_time == (1980, 1, 1, 0, 0, 0)


CHAPTER = [
    "```{admonition} The question\nHow many, {ref}`all told <ex-count>`?\n```",
    "```{admonition} Objectives\nTo count.\n```",
    "## Exercises",
    "```{exercise-start} Counting\n:label: ex-count\n```\nCount it with `check_count(n)`.\n",
    cell(":tags: [hide-input]\n\ndef check_count(n):\n    assert n == 3\n    print('Right.')"),
    "```{exercise-end}\n```\n",
    "```{solution-start} ex-count\n:class: dropdown\n```\nThere are three.\n",
    cell("check_count(3)"),
    "```{solution-end}\n```\n",
    "## Summary\n\n- **The answer.** Three.\n- More.\n",
]


def test_a_book_has_its_archives(write_book):
    extensions = ("book_facts", "chapter_downloads", "slides", "teaching")
    (book := write_book(root=["Text"])).joinpath("notebooks").mkdir()
    write_book(root=["Text"], **{"notebooks/count": CHAPTER})
    config = yaml.safe_load((book / "_config.yml").read_text())
    (book / "none.bib").write_text("")
    config["bibtex_bibfiles"] = ["none.bib"]
    config["sphinx"] = {
        "extra_extensions": ["sphinx_exercise"],
        "local_extensions": dict.fromkeys(extensions, str(ROOT / "tools")),
    }
    (book / "_config.yml").write_text(yaml.safe_dump(config))
    result = build(book)
    assert result.returncode == 0, result.stderr
    html = book / "_build" / "html"

    def read(name, file):
        with zipfile.ZipFile(html / "downloads" / f"{name}.zip") as archive:
            return archive.read(f"{name}/{file}").decode()

    student = read("students", "01_count.ipynb")
    assert "exercise 1 has no answer yet" in student
    assert "three" not in student
    teacher = nbformat.reads(read("instructors", "01_count.ipynb"), 4)
    shown = {cell.source: cell.outputs for cell in teacher.cells if cell.cell_type == "code"}
    assert shown["check_count(3)"][0].text == "Right.\n"
    (chapter,) = json.loads(read("questions", "questions.json"))
    assert chapter["question"] == "How many, all told?"
    assert chapter["answer"] == "Three."
    (exercise,) = chapter["exercises"]
    assert exercise["title"] == "Counting"
    assert exercise["call"] == "check_count(n)"
    assert exercise["solution"] == "There are three.\n\n```python\ncheck_count(3)\n```"
    assert "**Solution.**\n\nThere are three." in read("questions", "questions.md")
    assert "Count it" in read("slides", "slides/count.html")
    assert 'href="slides/count.html"' in read("slides", "index.html")
    assert 'href="../slides/count.html"' in (html / "notebooks" / "count.html").read_text()
