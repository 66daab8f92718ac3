"""A report as a picture: a bar for each side, raw figures on the bars, a line where the target is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.measure import Figure, Report, Samples

OURS, THEIRS, LIMIT, TEXT = "#1f6f8b", "#b8b8b8", "#c0392b", "#333333"
_HALF = 0.38  # height of a bar, where a figure has the height 1
_LABEL = 0.1  # of the width: what a figure behind a bar takes
_UNITS = {
    "s": "seconds",
    "MB": "10⁶ bytes (PSS)",
    "ms": "milliseconds",
    "CPU s/min": "seconds of processor time per minute",
    "requests/min": "requests per minute",
}


def plot(report: Report, path: Path) -> None:
    """Write a PNG: a panel for each unit."""
    mpl.rcParams.update({"font.size": 10, "axes.edgecolor": "#999999", "text.color": TEXT, "axes.labelcolor": TEXT})
    panels = _panels(report.figures)
    heights = [len(panel) + 0.6 for panel in panels]
    canvas = Canvas(figsize=(10, 1.5 + 0.62 * sum(heights)), layout="constrained", dpi=130)
    axes = canvas.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _panel(axis, panel)
    spread = f"medians of {report.rounds} rounds, whiskers: least and most" if report.rounds > 1 else "one round"
    canvas.suptitle(f"{report.title}\n", fontsize=13, fontweight="bold", x=0.01, ha="left")
    canvas.text(0.01, 0.965, spread, fontsize=9, color="#777777", va="top")
    handles = [
        mpl.patches.Patch(color=OURS, label="Aerodrome"),
        mpl.patches.Patch(color=THEIRS, label=report.peer),
        mpl.lines.Line2D([], [], color=LIMIT, linewidth=2, label="target: at most"),
    ]
    canvas.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    canvas.savefig(path)


def _panels(figures: Sequence[Figure]) -> list[list[Figure]]:
    """Figures that share a scale."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault((figure.panel, figure.unit), []).append(figure)
    return list(found.values())


def _panel(axis: Axes, figures: Sequence[Figure]) -> None:
    width = 1.22 * max(_reach(figure) for figure in figures)
    for row, figure in enumerate(figures):
        shift = _HALF / 2 if figure.theirs else 0
        _bar(axis, row - shift, figure, figure.ours, width)
        if figure.theirs is not None:
            _bar(axis, row + shift, figure, figure.theirs, width)
        if figure.limit is not None:
            axis.vlines(figure.limit, row - 0.46, row + 0.46, color=LIMIT, linewidth=2)
            _write(axis, format(figure.limit, figure.form), figure.limit, row - 0.5, color=LIMIT, fontsize=8)
    axis.set_yticks(range(len(figures)), [figure.title for figure in figures])
    axis.set_ylim(len(figures) - 0.4, -0.7)
    axis.set_xlim(0, width)
    axis.set_xlabel(", ".join(filter(None, [figures[0].panel, _UNITS[figures[0].unit]])))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#e6e6e6")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _reach(figure: Figure) -> float:
    return max(*figure.ours.values, *(figure.theirs.values if figure.theirs else ()), figure.limit or 0)


def _bar(axis: Axes, at: float, figure: Figure, samples: Samples, width: float) -> None:
    """A bar with its figure behind it, and behind the target's line if that is where the figure would be."""
    ours = samples is figure.ours
    middle, least, most = samples.median, min(samples.values), max(samples.values)
    axis.barh(at, middle, height=_HALF, color=OURS if ours else THEIRS)
    if most > least:
        axis.errorbar(middle, at, xerr=[[middle - least], [most - middle]], color=TEXT, capsize=2, linewidth=1)
    limit = figure.limit
    covered = limit is not None and most - 0.01 * width <= limit <= most + _LABEL * width
    place = limit if covered and limit is not None else most
    text = f"{middle:{figure.form}} {figure.unit}"
    _write(axis, text, place, at, fontsize=9, fontweight="bold" if ours else "normal")


def _write(axis: Axes, text: str, x: float, y: float, **style: Any) -> None:
    axis.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", **style)
