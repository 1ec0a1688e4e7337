"""The exercises of a chapter: what they ask, how an answer is checked, and the solution."""

import ast
import re
from dataclasses import dataclass

EXERCISE = re.compile(
    r"^```\{exercise-start\}(?P<title>[^\n]*)\n:label: (?P<label>\S+)\n```\n(?P<body>.*?)"
    r"^```\{exercise-end\}\n```\n+"
    r"```\{solution-start\} (?P=label)\n(?::[^\n]*\n)*```\n(?P<solution>.*?)"
    r"^```\{solution-end\}\n```$",
    re.MULTILINE | re.DOTALL,
)
CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n.*?\n---\n|(?::[^\n]*\n)*)\n*(?P<code>.*?)^```\n?",
    re.MULTILINE | re.DOTALL,
)
CHECK = re.compile(r"^def (?P<call>check_\w+\([^)]*\)):", re.MULTILINE)
STUB = """\
# Exercise {number}: {title}
# Write your answer in place of the next line; the last line checks it.
raise NotImplementedError("exercise {number} has no answer yet")

{call}
"""


@dataclass
class Exercise:
    """One exercise; texts are MyST, as in the source."""

    number: int  # in its chapter
    label: str
    title: str
    text: str  # what it asks
    check: str  # the code of the folded cell, with the function that checks an answer
    call: str  # how that function is called on an answer: check_gain(best)
    solution: str

    @property
    def stub(self) -> str:
        """The cell that waits for an answer."""
        return STUB.format(number=self.number, title=self.title, call=self.call)


def exercises(source: str) -> list[Exercise]:
    """The exercises of a chapter's source, in their order."""
    found = []
    for number, match in enumerate(EXERCISE.finditer(source), 1):
        check = "\n".join(cell["code"] for cell in CELL.finditer(match["body"]))
        if not CHECK.search(check):
            continue
        text = CELL.sub("", match["body"]).strip()
        title, solution = match["title"].strip(), match["solution"].strip()
        call = call_of(text, check)
        found.append(Exercise(number, match["label"], title, text, check, call, solution))
    return found


def call_of(text: str, check: str) -> str:
    """The call that the text shows, or, where that has an answer in it, one by parameters."""
    function = CHECK.search(check)["call"]
    name = function.split("(")[0]
    for shown in re.findall(rf"`({name}\([^`]*\))`", text):
        if not any(isinstance(node, ast.Constant) for node in ast.walk(ast.parse(shown))):
            return shown
    return function
