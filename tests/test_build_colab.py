"""The notebook for Colab: plain Markdown, the package installed, solutions left out."""

import re
from types import SimpleNamespace

import chapter_downloads
import pytest
from colab import Context, to_notebook

KERNEL = "---\nfile_format: mystnb\nkernelspec: {name: python3, display_name: Python 3}\n---\n"


def cell(source):
    return f"```{{code-cell}} ipython3\n{source}\n```\n"


CHAPTER = (
    KERNEL
    + r"""
(a-label)=
# Title

% a comment
An {term}`analysis <x>` of {glue:text}`error:.2f`, {math}`x^2` in {eq}`cost`,
{ref}`double`, {cite:t}`a`.
See [notation](../book/notation.md) and [elsewhere](https://example.org).

$$
J(x)
$$ (cost)

```{admonition} Objectives
:class: tip
Know {term}`it`.
```

"""
    + cell(":tags: [hide-input]\n\nx = {'{ref}`double`': 1}")
    + """
```{exercise} Doubling
:label: double
Double it.
```

````{solution} double
```python
secret
```
````

```{exercise-start}
:label: triple
```
Triple it.
```{exercise-end}
```

```{solution-start} triple
:class: dropdown
```
"""
    + cell("secret")
    + """
```{solution-end}
```

See {numref}`fig-x` and {footcite:p}`b`.

"""
    + cell("---\nmystnb:\n  figure:\n    name: fig-x\n    caption: What {term}`x` is.\n---\nplot()")
    + """
```{footbibliography}
```
"""
)


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def test_a_notebook_has_plain_markdown():
    context = Context(
        glued={"error:.2f": "0.25"}.get,
        cited=lambda role, keys: f"{role} {keys}",
        references=lambda keys: f"- {keys}",
        address=lambda target: f"https://example.org/{target}",
    )
    notes, text, code, exercise, solution, *end = sources(to_notebook(CHAPTER, context))
    assert "needs the package" in notes
    assert text == (
        "# Title\n\n"
        "An analysis of 0.25, $x^2$ in (1),\nexercise 1, cite:t a.\n"
        "See [notation](https://example.org/../book/notation.md) and [elsewhere](https://example.org)."
        "\n\n$$\nJ(x) \\tag{1}\n$$\n\n> **Objectives**\n>\n> Know it."
    )
    assert code == "x = {'{ref}`double`': 1}"  # code stays as it is
    assert exercise.startswith("> **Exercise 1: Doubling**\n>\n> Double it.\n\n> **Solution of")
    assert exercise.endswith("**Exercise 2**\n\nTriple it.\n\n**Solution of exercise 2**")
    assert solution == "secret"
    assert end == [
        "See figure 1 and cite:p b.",
        "plot()",
        "**Figure 1.** What x is.",
        "- ['a', 'b']",
    ]


def test_a_notebook_without_what_the_book_knows_is_still_readable():
    text = sources(to_notebook(CHAPTER, Context()))[1]
    assert "analysis of (see the output)" in text
    assert "See notation and" in text


def test_a_notebook_installs_the_package_and_keeps_jax():
    install = to_notebook(CHAPTER, Context(), repository="owner/name").cells[0]
    assert install.cell_type == "code"
    assert (
        '"jax=={jax_version}" "assimilation @ git+https://github.com/owner/name"' in install.source
    )
    weights = 'os.environ["ASSIMILATION_WEIGHTS"] = "https://owner.github.io/name/weights"'
    assert install.source.endswith(weights)


@pytest.mark.parametrize("repository", ["owner/name", "other/book", None])
def test_a_page_leads_to_colab_and_binder_where_the_repository_is_known(
    repository, monkeypatch, tmp_path
):
    monkeypatch.setattr(chapter_downloads, "source_of", lambda app, name: "")
    monkeypatch.setattr(chapter_downloads, "times_of", lambda app, name: "")
    app = SimpleNamespace(
        config=SimpleNamespace(github_repository=repository), extensions=("slides",)
    )
    context = {"body": "<h1>Title</h1>"}
    chapter_downloads.add_links(app, "notebooks/cycling", "", context, None)
    links = re.findall(r'href="(https:[^"]+)"', context["body"])
    chapter_downloads.write_binder(tmp_path / ".binder", repository)
    if not repository:
        assert not links
        assert not (tmp_path / ".binder").exists()
        return
    assert links == [
        f"https://colab.research.google.com/github/{repository}/blob/gh-pages/notebooks/cycling.ipynb",
        f"https://mybinder.org/v2/gh/{repository}/gh-pages?urlpath=lab/tree/notebooks/cycling.ipynb",
    ]
    wanted = (tmp_path / ".binder" / "requirements.txt").read_text()
    assert f"assimilation @ git+https://github.com/{repository}\n" in wanted
    chapter_downloads.write_binder(tmp_path / ".binder", None)
    assert not (tmp_path / ".binder").exists()


def test_the_student_notebook_has_a_cell_in_the_place_of_each_solution():
    cells = sources(to_notebook(CHAPTER, Context(), student=True))
    assert "secret" not in "".join(cells)
    assert sum("NotImplementedError" in cell for cell in cells) == 2
    assert cells[-3] == "plot()"


def test_a_block_without_end_is_an_error():
    with pytest.raises(ValueError, match="has no end"):
        to_notebook(f"{KERNEL}\n```{{note}}\nopen\n", Context())


def test_code_that_the_page_folds_is_folded_in_the_notebook():
    for found in to_notebook(CHAPTER, Context()).cells:
        hidden = "hide-input" in found.metadata.get("tags", ())
        assert found.metadata.get("jupyter", {}).get("source_hidden", False) == hidden
        assert found.metadata.get("cellView") == ("form" if hidden else None)


def test_a_view_has_sliders_in_the_notebook():
    still = """---
mystnb: {figure: {name: fig-view-attractor, caption: A butterfly.}}
tags: [hide-input]
---
from assimilation import views

views.attractor();"""
    _, code, caption = sources(to_notebook(f"{KERNEL}\n{cell(still)}", Context()))
    assert code == "from assimilation import views\n\nviews.with_sliders(views.attractor)"
    assert caption == "**Figure 1.** A butterfly."
