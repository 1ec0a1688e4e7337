"""The plots that several chapters share, in one visual language.

Each method keeps its colour (Okabe & Ito's palette, safe for colour-blind readers),
marker and line style in every figure; line style and marker carry it in greyscale.
"""

import base64
import html
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from matplotlib.animation import FFMpegWriter
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from assimilation.experiments.results import MethodResult, SweepResult


class Style(NamedTuple):
    """How a method looks in every figure."""

    label: str
    color: str
    marker: str
    linestyle: Any


STYLES = {
    "truth": Style("truth", "#000000", ".", "-"),
    "climatology": Style("climatology", "#7f7f7f", "x", (0, (1, 1))),
    "oi": Style("OI", "#E69F00", "o", "--"),
    "3dvar": Style("3DVar", "#8c510a", "s", (0, (1, 3))),
    "OI in space-time": Style("OI in space-time", "#009E73", "p", (0, (3, 2))),
    "strong_4dvar": Style("strong 4DVar", "#0072B2", "D", "-"),
    "weak_4dvar": Style("weak 4DVar", "#56B4E9", "v", (0, (5, 1))),
    "incremental_4dvar": Style("incremental 4DVar", "#332288", "^", (0, (3, 1, 1, 1))),
    "ensemble_4dvar": Style("mean of 4DVars", "#117733", "P", "-."),
    "fourdvarnet": Style("FourDVarNet", "#D55E00", "h", (0, (4, 2, 1, 2))),
    "amortized": Style("amortized", "#CC79A7", "*", (0, (2, 1))),
    "amortized_4dvar": Style("amortized + 4DVar", "#882255", "X", (0, (6, 2))),
}


def style_of(name: str) -> Style:
    """The style of a method, or a grey one for a name that has none."""
    return STYLES.get(name, Style(name, "#555555", "d", "-"))


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each method under the name that it has in the figures."""
    return table.rename(index=lambda name: style_of(name).label)


def hovmoller(
    ax: Axes, field: Float[Array, "T N"], dt: float, vmax: float, cmap: str = "RdBu_r"
) -> AxesImage:
    """Draw a field (time, site) with time to the right and sites upwards."""
    n_time, n_sites = np.shape(field)
    return ax.imshow(
        np.asarray(field).T,
        aspect="auto",
        origin="lower",
        cmap=cmap,
        vmin=-vmax,
        vmax=vmax,
        extent=(0.0, (n_time - 1) * dt, -0.5, n_sites - 0.5),
        interpolation="nearest",
    )


def mark_window(ax: Axes, end: float, label: str | None = "end of the window") -> None:
    """A vertical line where the assimilation window ends and the forecast begins."""
    ax.axvline(end, color="0.15", lw=1.2, ls=":", label=label)


def rmse_traces(ax: Axes, results: Sequence[MethodResult | SweepResult], dt: float) -> None:
    """RMSE(t) of each result; for a sweep, the root mean square over its seeds."""
    for result in results:
        trace = np.asarray(result.rmse_trace)
        if trace.ndim == 2:
            trace = np.sqrt(np.mean(trace**2, axis=0))
        style = style_of(result.name)
        ax.plot(
            np.arange(trace.size) * dt,
            trace,
            color=style.color,
            ls=style.linestyle,
            marker=style.marker,
            markevery=max(1, trace.size // 10),
            ms=5,
            lw=1.6,
            label=style.label,
        )
    ax.set_yscale("log")
    ax.set_xlabel("time (model time units)")
    ax.set_ylabel("RMSE(t) (state units)")
    ax.grid(True, which="both", alpha=0.25)


def score_intervals(ax: Axes, results: Sequence[SweepResult], score: str = "rmse_total") -> None:
    """Mean and 95 % interval of a score for each sweep, best at the top."""
    ordered = sorted(results, key=lambda result: -result.mean(score))
    for height, result in enumerate(ordered):
        style = style_of(result.name)
        low, high = result.interval(score)
        mean = result.mean(score)
        ax.errorbar(
            mean,
            height,
            xerr=[[mean - low], [high - mean]],
            fmt=style.marker,
            color=style.color,
            ms=7,
            capsize=4,
        )
    labels = [style_of(result.name).label for result in ordered]
    ax.set_yticks(range(len(ordered)), labels)
    ax.grid(True, axis="x", alpha=0.25)


def new_figure(height: float = 4.0, **grid: Any) -> tuple[plt.Figure, Any]:
    """A figure as wide as the page's text, `height` inches high; `plt.subplots` grid."""
    return plt.subplots(figsize=(8.0, height), layout="constrained", **grid)


class Video:
    """A film that a notebook and the book show in place, with the words that it is read as.

    `draw(n)` turns the figure into frame n of `n_frames`. The figure is laid out once, for its
    first frame, and closed at the end. `dpi` are pixels to an inch.
    """

    def __init__(
        self,
        fig: plt.Figure,
        draw: Callable[[int], Any],
        n_frames: int,
        description: str,
        fps: int = 15,
        dpi: int = 100,
    ):
        # Every browser plays H.264 in this pixel format, which needs even lengths.
        even = ["-pix_fmt", "yuv420p", "-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"]
        draw(0)
        fig.canvas.draw()
        fig.set_layout_engine("none")
        with (
            mpl.rc_context({"animation.ffmpeg_path": imageio_ffmpeg.get_ffmpeg_exe()}),
            tempfile.TemporaryDirectory() as folder,
        ):
            path = Path(folder, "film.mp4")
            writer = FFMpegWriter(fps, codec="h264", extra_args=even)
            with writer.saving(fig, path, dpi):
                for number in range(n_frames):
                    draw(number)
                    writer.grab_frame()
            self.data = path.read_bytes()
        self.description = description
        plt.close(fig)  # or the notebook shows its last frame as a figure

    def __repr__(self) -> str:
        return f"Video: {self.description}"

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.data).decode()
        return (
            f'<video controls loop muted autoplay playsinline aria-label="'
            f'{html.escape(self.description)}" src="data:video/mp4;base64,{source}"></video>'
        )
