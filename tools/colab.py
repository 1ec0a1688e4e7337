"""Turns a chapter into a notebook that reads well outside the book, in Colab above all.

Colab knows Markdown, mathematics and code cells. What MyST adds to them (roles, directives, labels)
is put into plain Markdown here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jupytext
from exercises import CHECK, exercises
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from repository import home

INSTALL = """\
# Installs what the chapter needs. Naming the jax that is already here keeps pip from replacing it.
# What the book has trained is fetched from its pages, where it fits.
import os
from importlib.metadata import version

jax_version = version("jax")
%pip install --quiet "jax=={jax_version}" "assimilation @ git+https://github.com/@REPOSITORY@"
os.environ["ASSIMILATION_WEIGHTS"] = "@HOME@weights"
"""
PROMPT = """```{code-cell} ipython3
# Your solution. The exercise says how to check it.
raise NotImplementedError("no solution yet")
```"""

SOLUTIONS = re.compile(
    r"^(`{3,}|:{3,})\{solution-start\}[ \t]*(?P<label>\S*)"
    r".*?^(?P<end>`{3,}|:{3,})\{solution-end\}\s*?\n(?P=end)[ \t]*$"
    r"|^(?P<marks>`{3,}|:{3,})\{solution\}.*?^(?P=marks)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
DIRECTIVE = re.compile(r"^(?P<marks>`{3,}|:{3,})\{(?P<name>[\w:-]+)\}[ \t]*(?P<argument>.*)$")
CODE_BLOCK = re.compile(r"^(?P<marks>`{3,})[^`]*$")
OPTION = re.compile(r"^:(?P<key>[\w-]+):[ \t]*(?P<value>.*)$")
ROLE = re.compile(r"\{(?P<name>[\w:-]+)\}(?P<ticks>`+)(?P<content>.+?)(?P=ticks)", re.DOTALL)
TARGET = re.compile(r"(?P<text>.*?)\s*<(?P<target>[^<>]+)>", re.DOTALL)
LINK = re.compile(r"(?P<bang>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
DOLLAR_EQUATION = re.compile(r"^\$\$(?P<body>[^$]+)\$\$[ \t]*\((?P<label>\S+)\)[ \t]*$", re.M)
EQUATION_LABEL = re.compile(
    r"^\$\$[ \t]*\((\S+)\)[ \t]*$|^[`:]{3,}\{math\}.*\n:label:[ \t]*(\S+)", re.M
)
EXERCISE_LABEL = re.compile(
    r"^[`:]{3,}\{exercise(?:-start)?\}.*\n(?::(?!label:).*\n)*(?::label:[ \t]*(\S+))?", re.M
)
CITATION = re.compile(r"\{(?:foot)?cite(?::\w+)?\}`([^`]+)`")
VIEW = re.compile(r"^views\.(\w+)\(\);$", re.M)
OUT_OF_SIGHT = {"remove-input", "remove-cell", "hide-input", "hide-cell"}
NO_TEXT = {"bibliography", "tableofcontents", "contents", "exercise-end", "solution-end"}


@dataclass
class Context:
    """What the rest of the book knows about the names that a chapter uses."""

    glued: Callable[[str], str | None] = lambda content: None  # "name:.2f" -> its text
    cited: Callable[[str, str], str] = lambda role, keys: f"[{keys}]"
    references: Callable[[list[str]], str] = "\n".join  # keys -> a list of publications
    titles: Mapping[str, str] = field(default_factory=dict)  # label or file -> title
    address: Callable[[str], str | None] = lambda target: None  # file in a link -> its address


def to_notebook(
    text: str, context: Context, *, repository: str | None = None, student: bool = False
) -> NotebookNode:
    """The notebook of a chapter's source; `student` leaves a cell to fill for each solution."""
    if student:
        stubs = {one.label: f"```{{code-cell}}\n{one.stub}```" for one in exercises(text)}
        text = SOLUTIONS.sub(lambda match: stubs.get(match["label"], PROMPT), text)
    notebook = jupytext.reads(text, fmt="md:myst")
    figures = {
        id(cell): cell.metadata["mystnb"]["figure"]
        for cell in notebook.cells
        if "figure" in cell.metadata.get("mystnb", {})
    }
    names = [figure.get("name") for figure in figures.values()]
    plain = Plain(text, context, names)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain.block(cell.source).strip()
        elif OUT_OF_SIGHT & set(cell.metadata.get("tags", ())):
            cell.metadata.update(jupyter={"source_hidden": True}, cellView="form")
            # Here a reader tries answers, and one of the wrong type shall say so kindly.
            cell.source = CHECK.sub(r"@da.self_check\n\g<0>", cell.source)
        if figures.get(id(cell), {}).get("name", "").startswith("fig-view-"):
            cell.source = VIEW.sub(r"views.with_sliders(views.\1)", cell.source)
        if cell.source:
            cells.append(cell)
        if id(cell) in figures:
            caption = plain.caption(figures[id(cell)])
            cells.append(new_markdown_cell(caption))
    note = "Numbers inside sentences come from the run that made the book."
    if not repository:
        note = f"This notebook needs the package `assimilation`. {note}"
    cells.insert(0, new_markdown_cell(f"*{note}*"))
    if repository:
        install = INSTALL.replace("@REPOSITORY@", repository).replace("@HOME@", home(repository))
        cells.insert(0, new_code_cell(install.strip()))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # random by default, and the same chapter should give one file
    notebook.cells = cells
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    return notebook


class Plain:
    """Puts MyST into plain Markdown, with the numbers that Sphinx gives to what is labelled."""

    def __init__(self, text: str, context: Context, figures: list[str]):
        self.context = context
        self.figures = {name: number for number, name in enumerate(figures, 1)}
        keys = re.split(r"\s*,\s*", ",".join(CITATION.findall(text)))
        self.publications = list(dict.fromkeys(filter(None, keys)))
        equations = [a or b for a, b in EQUATION_LABEL.findall(text)]
        self.equations = {label: number for number, label in enumerate(equations, 1)}
        exercises = EXERCISE_LABEL.findall(text)
        self.exercises = {label: number for number, label in enumerate(exercises, 1) if label}

    def block(self, text: str) -> str:
        """Lines outside and inside directives; blocks of code stay as they are."""
        lines = text.splitlines()
        done, prose = [], []

        def flush():
            if prose:
                done.append(self.prose("\n".join(prose)))
                prose.clear()

        while lines:
            line = lines.pop(0)
            directive, code = DIRECTIVE.match(line), CODE_BLOCK.match(line)
            if directive or code:
                flush()
                body = _until(lines, (directive or code)["marks"])
                if directive:
                    # A blank line keeps the text that follows out of a quoted block.
                    done += [self.directive(directive["name"], directive["argument"], body), ""]
                else:
                    done += [line, *body, code["marks"]]
            elif not (re.fullmatch(r"\([^()\s]+\)=", line) or line.startswith("% ")):
                prose.append(line)
        flush()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(done))

    def caption(self, figure: Mapping[str, str]) -> str:
        number = self.figures[figure.get("name")]
        return f"**Figure {number}.** {self.prose(figure.get('caption', ''))}".strip()

    def directive(self, name: str, argument: str, body: list[str]) -> str:
        options = {}
        while body and (option := OPTION.match(body[0])):
            options[option["key"]] = option["value"]
            body = body[1:]
        label, content = options.get("label"), "\n".join(body).strip()
        if name in NO_TEXT:
            return ""
        if name == "footbibliography":
            return self.context.references(self.publications)
        if name == "math":
            tag = f" \\tag{{{self.equations[label]}}}" if label else ""
            return f"$$\n{content}{tag}\n$$"
        if name in ("code", "code-block"):
            return f"```{argument}\n{content}\n```"
        if name in ("image", "figure"):
            image = self.prose(f"![{options.get('alt', '')}]({argument})")
            return f"{image}\n\n{self.block(content)}".strip()
        if name.startswith("glue"):
            return "*(shown by the code above)*"
        if name.startswith("exercise"):
            number = self.exercises.get(label)
            title = f"Exercise {number}" if number else "Exercise"
            title += f": {argument}" if argument else ""
        elif name.startswith("solution"):
            number = self.exercises.get(argument)
            title = f"Solution of exercise {number}" if number else "Solution"
        elif name in ("admonition", "dropdown", "table", "list-table"):
            title = argument
        else:
            title, content = name.capitalize(), f"{argument}\n{content}".strip()
        text = f"**{self.prose(title)}**\n\n{self.block(content)}".strip()
        if name.endswith("-start"):  # what belongs to it follows, up to the -end
            return text
        return "\n".join(f"> {line}".rstrip() for line in text.splitlines())

    def prose(self, text: str) -> str:
        text = DOLLAR_EQUATION.sub(
            lambda m: f"$${m['body'].rstrip()} \\tag{{{self.equations[m['label']]}}}\n$$", text
        )
        return LINK.sub(self.link, ROLE.sub(self.role, text))

    def link(self, match: re.Match) -> str:
        target = match["target"]
        if re.match(r"https?:|mailto:|data:", target):
            return match[0]
        address = self.context.address(target)
        text = match["text"] or self.context.titles.get(target.lstrip("#"), target)
        return f"{match['bang']}[{text}]({address})" if address else text

    def role(self, match: re.Match) -> str:
        name, content = match["name"], match["content"]
        if name.startswith("glue"):
            return self.context.glued(content) or "(see the output)"
        if name.startswith(("cite", "footcite")):
            return self.context.cited(name.removeprefix("foot"), content)
        if name == "math":
            return f"${content}$"
        if name == "eq":
            return f"({self.equations.get(content, content)})"
        explicit = TARGET.fullmatch(content)
        text, target = explicit.groups() if explicit else (content, content)
        if name.startswith(("py:", "func", "class", "meth", "mod")):
            return f"`{text.split('.')[-1]}`" if text.startswith("~") else f"`{text}`"
        if explicit:
            return text
        if target in self.exercises:
            return f"exercise {self.exercises[target]}"
        if target in self.figures:
            return f"figure {self.figures[target]}"
        titles = self.context.titles
        return titles.get(target) or titles.get(f"{target}.md", text)


def _until(lines: list[str], marks: str) -> list[str]:
    """Takes lines up to the fence that closes `marks`."""
    body = []
    while lines:
        line = lines.pop(0)
        if line.strip() and set(line.strip()) == {marks[0]} and len(line.strip()) >= len(marks):
            return body
        body.append(line)
    raise ValueError(f"a block that starts with {marks} has no end; its first line is {body[:1]}")
