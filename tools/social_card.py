"""The picture that goes with a link to the book where somebody shares it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

PATH = "_static/social_card.png"
ALT = "The butterfly of Lorenz-63, with a few noisy observations of one run"
WIDTH, HEIGHT, DPI = 1200, 630, 100  # what those who show such pictures ask for


def lorenz63(state, steps: int, dt: float = 0.01):
    """A run of Lorenz-63 by Euler's method with short steps: good enough to look at."""
    run = []
    for _ in range(steps):
        for _ in range(10):
            x, y, z = state
            slope = np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])
            state = state + dt / 10 * slope
        run.append(state)
    return np.array(run)


def draw(path: Path, title: str) -> None:
    """Draws the picture with `title` into the file `path`."""
    run = lorenz63(np.array([1.0, 1.0, 20.0]), 5000)[500:]
    shown = run[600:760]
    seen = shown[::20] + 1.2 * np.random.default_rng(1).normal(size=shown[::20].shape)
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="#14181e")
    axes = figure.add_axes((0.46, 0.02, 0.53, 0.96), frameon=False, xticks=[], yticks=[])
    axes.plot(run[:, 0], run[:, 2], color="#8a94a3", lw=0.5, alpha=0.55)
    axes.plot(shown[:, 0], shown[:, 2], color="#56B4E9", lw=4)
    axes.plot(seen[:, 0], seen[:, 2], "o", color="#E69F00", ms=13, mec="#14181e", mew=2)
    figure.text(0.06, 0.62, title.replace(" in ", "\nin "), color="white", size=40, va="center")
    figure.text(
        0.06,
        0.3,
        "A book that you can run:\nread it, run it, teach from it",
        color="#ced6dd",
        size=22,
    )
    figure.savefig(path)
