"""The scripts in `examples/` run, say what they should, and stay short."""

import ast
import importlib.util
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    """A script of `examples/` as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines_of_code(name):
    """Lines of a script that are neither empty, nor an import, nor a docstring."""
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
    body = [
        node
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    text = (EXAMPLES / f"{name}.py").read_text().splitlines()
    spans = [range(node.lineno - 1, node.end_lineno) for node in body[:-1]]
    return sum(bool(text[line].strip()) for span in spans for line in span)


def test_a_model_of_ones_own_takes_few_lines():
    """The last statement, which prints, does not count."""
    assert lines_of_code("own_problem") <= 15


def test_a_model_of_ones_own_is_estimated():
    result = example("own_problem").run(n_problems=6)
    low, high = result.interval()
    assert result.n_diverged == 0
    assert low <= result.mean() <= high
    # One number in all is counted at a time, with errors of 0.1.
    assert result.mean() < 0.1


def test_two_instruments_are_better_than_each():
    errors = example("two_instruments").run(n_steps=300)
    assert errors["both"] < 0.5 * min(errors["stations"], errors["radiometer"])
    assert max(errors["stations"], errors["radiometer"]) < errors["climatology"]


def test_the_starting_page_runs():
    mpl.use("Agg")
    steps = {"three": 5, "strong": 5, "weak": 3, "pairs": (4, 4), "training": (3, 3)}
    sizes = {"K": 4, "J": 2, "T_assim": 20, "T_total": 30, "spin_up": 500}
    table, *figures = example("starting_page").main(steps, **sizes)
    names = {"oi", "3dvar", "strong_4dvar", "weak_4dvar", "fourdvarnet", "amortized"}
    assert set(table.index) == names
    assert np.isfinite(table["rmse_total"]).all()
    assert table.loc["strong_4dvar", "rmse_assim"] < table.loc["oi", "rmse_assim"]
    np.testing.assert_allclose(
        table.loc["oi", "rmse_total"], table.loc["3dvar", "rmse_total"], rtol=1e-3
    )
    assert table.loc["fourdvarnet", "train_time_s"] > 0
    for figure in figures:
        plt.close(figure)
