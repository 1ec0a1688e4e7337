"""Five figures to play with: a still here, sliders in a notebook, a script of its own in the book.

Each function draws its figure for the values given, and returns what is to be read off it, in one
sentence. Its signature is the only place where ranges, units and labels of the sliders stand. The
scripts in `book/_static/views` compute the same numbers and say the same sentence.
"""

import inspect
import textwrap
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
from scipy.signal import find_peaks

from assimilation.figures import new_figure
from assimilation.view_numbers import (
    LINE,
    MEMBERS,
    OBSERVED_EVERY,
    SITES,
    costs_by_window,
    long_run,
    rank_shares,
    ring_gain,
)


class Slider(NamedTuple):
    """What a slider is called, and from where to where it goes."""

    label: str
    low: float
    high: float
    step: float
    unit: str = ""


LOOK = {
    "background": {"color": "0.45", "ls": "--", "lw": 2},
    "observation": {"color": "#D55E00", "ls": ":", "lw": 2},
    "analysis": {"color": "#0072B2", "ls": "-", "lw": 2},
}


def sliders(view: Callable[..., str]) -> list[dict]:
    """The sliders of a view, in the order of its arguments: name, value, label, range, unit."""
    return [
        {"name": name, "value": argument.default, **argument.annotation.__metadata__[0]._asdict()}
        for name, argument in inspect.signature(view).parameters.items()
    ]


def with_sliders(view: Callable[..., str]) -> None:
    """Show a view in a notebook, with a slider for each argument.

    Without ipywidgets it shows the still, and says how to get the sliders.
    """
    try:
        import ipywidgets
    except ImportError:
        print("The sliders need ipywidgets: pip install ipywidgets, and run this cell again.")
        print(view())
        return
    controls = {
        one["name"]: ipywidgets.FloatSlider(
            value=one["value"],
            min=one["low"],
            max=one["high"],
            step=one["step"],
            description=f"{one['label']} ({one['unit']})" if one["unit"] else one["label"],
            readout_format=".1f" if one["step"] < 1 else ".0f",
            continuous_update=False,
            layout={"width": "36em"},
            style={"description_width": "20em"},
        )
        for one in sliders(view)
    }
    ipywidgets.interact(lambda **values: print(view(**values)), **controls)


def two_gaussians(
    background_variance: Annotated[
        float, Slider("variance of the forecast", 0.5, 25, 0.5, "°C²")
    ] = 4.0,
    observation_variance: Annotated[
        float, Slider("variance of the thermometer", 0.5, 25, 0.5, "°C²")
    ] = 1.0,
    distance: Annotated[float, Slider("reading minus forecast", -10, 10, 0.5, "°C")] = 5.0,
) -> str:
    """Forecast (10 °C), thermometer and their product, three bell curves."""
    gain = background_variance / (background_variance + observation_variance)
    mean, variance = 10 + gain * distance, (1 - gain) * background_variance
    x = np.linspace(-5, 25, 601)
    fig, ax = new_figure(3.2)
    for name, centre, spread in (
        ("background", 10, background_variance),
        ("observation", 10 + distance, observation_variance),
        ("analysis", mean, variance),
    ):
        bell = np.exp(-((x - centre) ** 2) / (2 * spread)) / np.sqrt(2 * np.pi * spread)
        ax.plot(x, bell, label=name, **LOOK[name])
    ax.set(xlabel="temperature (°C)", ylabel="density (1/°C)", xlim=(-5, 25), ylim=(0, None))
    return _titled(
        fig,
        ax,
        f"Gain {gain:.2f}, analysis {mean:.1f} °C, variance of its error {variance:.2f} °C².",
    )


def cost_landscape(
    window: Annotated[float, Slider("length of the window", 0.2, 6, 0.2, "time units")] = 3.0,
    start: Annotated[float, Slider("the search starts at s", -8, 8, 0.1)] = 5.0,
) -> str:
    """Cost along a line through the truth of Lorenz-63, and the end of a search downhill on it."""
    row = round(window / (0.01 * OBSERVED_EVERY))
    cost = costs_by_window()[row]
    valleys = find_peaks(-cost, prominence=1.0)[0]
    first = at = int(np.abs(LINE - start).argmin())
    while (lower := max(at - 1, 0) + int(np.argmin(cost[max(at - 1, 0) : at + 2]))) != at:
        at = lower
    height = 2 * cost / (3 * (row + 1))
    fig, ax = new_figure(3.4)
    ax.plot(LINE, height, color="#0072B2", lw=1.1)
    ax.plot(LINE[valleys], height[valleys], "o", color="#D55E00", ms=4, label="valleys")
    ax.plot(LINE[first], height[first], "s", color="0.5", ms=9, label="start of the search")
    ax.plot(LINE[at], height[at], "s", color="k", ms=9, label="its end")
    ax.axvline(0, color="k", lw=0.8, ls="--", label="truth")
    ax.set(xlabel="error of x at the start, s (state units)", ylabel=r"$2\mathcal{J}/n$ (no units)")
    ax.set_ylim(bottom=0)
    where = "the truth" if abs(LINE[at]) < 0.01 else f"s = {LINE[at]:.2f}, not at the truth"
    noun = "valley" if len(valleys) == 1 else "valleys"
    return _titled(
        fig,
        ax,
        f"Window of {window:.1f} time units: {len(valleys)} {noun}. "
        f"From s = {start:.1f} the search ends at {where}.",
    )


def attractor(
    turn: Annotated[float, Slider("turn", -180, 180, 5, "°")] = 0.0,
    tilt: Annotated[float, Slider("tilt", -90, 90, 5, "°")] = 0.0,
    time: Annotated[float, Slider("length of the run", 1, 25, 1, "time units")] = 25.0,
) -> str:
    """A run of Lorenz-63, seen from a direction: turned about the z axis, then tilted."""
    x, y, z = long_run()[: round(100 * time) + 1].T
    a, b = np.radians(turn), np.radians(tilt)
    across = x * np.cos(a) + y * np.sin(a)
    upwards = (z - 25) * np.cos(b) + (y * np.cos(a) - x * np.sin(a)) * np.sin(b)
    fig, ax = new_figure(4.2)
    ax.plot(across, upwards, color="#0072B2", lw=0.8)
    ax.plot(across[-1], upwards[-1], "o", color="k", ms=6, label="end of the run")
    ax.set(xlim=(-34, 34), ylim=(-34, 34), aspect="equal")
    ax.set(xlabel="across (state units)", ylabel="upwards (state units)")
    changes = int(np.sum(x[1:] * x[:-1] < 0))
    return _titled(
        fig,
        ax,
        f"{time:.0f} time units, {changes} changes of wing. From here its standard deviation "
        f"is {across.std():.1f} across and {upwards.std():.1f} upwards.",
    )


def one_observation(
    site: Annotated[float, Slider("observed site", 0, SITES - 1, 1)] = 20.0,
    length: Annotated[float, Slider("length scale", 0.5, 8, 0.5, "sites")] = 3.0,
    error_ratio: Annotated[
        float, Slider("error of the observation / of the background", 0.1, 3, 0.1)
    ] = 0.5,
) -> str:
    """Gain, and error before and after, of one observation on a ring whose B is a bell."""
    gain, variance = ring_gain(site, length, error_ratio)
    at, sites = round(site), np.arange(SITES)
    fig, (left, right) = new_figure(3.2, ncols=2)
    left.plot(sites, gain, marker="o", ms=3, **LOOK["analysis"])
    left.set(ylim=(0, 1.02), ylabel="gain")
    right.axhline(1, label="before", **LOOK["background"])
    right.plot(sites, np.sqrt(variance), label="after", **LOOK["analysis"])
    right.set(ylim=(0, 1.1), ylabel="standard deviation of the error")
    for ax in (left, right):
        ax.axvline(at, label="observed site", **LOOK["observation"])
        ax.set_xlabel("site")
    sentence = (
        f"Gain at site {at}: {gain[at]:.2f}; above 0.1 at {np.sum(gain > 0.1)} of {SITES} sites. "
        f"The error variance there falls from 1 to {variance[at]:.2f}, "
        f"summed over the ring from {SITES} to {variance.sum():.1f}."
    )
    return _titled(fig, right, sentence)


def rank_histogram(
    spread: Annotated[float, Slider("spread of the members / right spread", 0.3, 3, 0.1)] = 0.6,
    bias: Annotated[float, Slider("members too high by (right spreads)", -2, 2, 0.1)] = 0.0,
    cases: Annotated[float, Slider("number of cases", 50, 5000, 50)] = 500.0,
) -> str:
    """Expected rank histogram of an ensemble of 16 whose spread and mean may be wrong."""
    shares = rank_shares(spread, bias)
    flat = 1 / (MEMBERS + 1)
    chance = 1.96 * np.sqrt(flat * (1 - flat) / cases)
    x = np.linspace(-5, 5, 401)
    fig, (left, right) = new_figure(3.2, ncols=2)
    bell = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    left.plot(x, bell, label="truth", **LOOK["background"])
    bell = np.exp(-(((x - bias) / spread) ** 2) / 2) / np.sqrt(2 * np.pi) / spread
    left.plot(x, bell, label="members", **LOOK["analysis"])
    left.set(xlabel="value (right spreads)", ylabel="density", ylim=(0, None))
    right.bar(np.arange(MEMBERS + 1), shares, color="#0072B2", alpha=0.6)
    right.axhspan(flat - chance, flat + chance, color="#D55E00", alpha=0.25, label="chance")
    right.axhline(flat, label="flat", **LOOK["observation"])
    right.set(xlabel="members below the truth", ylabel="share of cases", ylim=(0, None))
    left.legend(fontsize=9)
    sentence = (
        f"The truth lies outside all {MEMBERS} members in {100 * (shares[0] + shares[-1]):.1f} % "
        f"of cases; {200 * flat:.1f} % is right. With {cases:.0f} cases, "
        f"{np.sum(np.abs(shares - flat) > chance)} of {MEMBERS + 1} bars stand out from chance."
    )
    return _titled(fig, right, sentence)


def _titled(fig, ax, sentence: str) -> str:
    ax.legend(fontsize=9)
    fig.suptitle(textwrap.fill(sentence, 90), fontsize=10)
    return sentence
