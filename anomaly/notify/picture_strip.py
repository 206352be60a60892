"""The lower part of a picture: layers by steps, each against its own past; or ranks by steps, against their peers.

Lightness alone tells: white is far below what is usual, black far above. What is no number has a mark of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from anomaly.notify.lettering import drawn, shared_start
from anomaly.notify.picture_curve import ALARM, BLUE, INK
from anomaly.notify.strips import Floats, Strip
from anomaly.notify.wanted import IDENTITIES

_SHADES = ("#ffffff", "#cfe3f1", "#b4b8ba", "#c98a3c", "#7a4208", "#1f0d00")
"""From far below to far above, ever darker; the third is in the middle."""
COLOURS = LinearSegmentedColormap.from_list(
    "past", list(zip((0.0, 0.25, 0.5, 0.68, 0.84, 1.0), _SHADES, strict=True))
)
LEAST_LOG2, MOST_LOG2 = 0.07, 3.0
"""The scale ends at 1.05 times to 8 times what is usual."""
NOISE_ROOM = 3.0
MARKS_A_ROW = 32
NAME_LETTERS = 20
ZERO_SHARE = 0.05


def ratios(strip: Strip, steps: Floats, onset: float) -> Floats:
    """log2 of each value over what is usual: the row's own median before the onset, or the ranks' at that step.

    Float64 [rows, steps], NaN where nothing finite was measured. Zeros are taken for a small share of what is usual.
    """
    usable = strip.measured & np.isfinite(strip.values)
    values = np.where(usable, np.abs(strip.values), np.nan)
    with np.errstate(all="ignore"):
        if strip.of == "ranks":
            usual = _median(values, axis=0)[None, :]
        else:
            past = np.where(steps[None, :] < onset, values, np.nan)
            usual = _median(past, axis=1)[:, None]
            siblings = _median(np.where(np.isfinite(past), past, values), axis=None)
            usual = np.where(np.isfinite(usual), usual, siblings)
        floor = np.maximum(ZERO_SHARE * usual, np.finfo(np.float32).tiny)
        found: Floats = np.log2((values + floor) / (usual + floor))
    return found


def draw_strip(figure: Figure, axes: Axes, strip: Strip, steps: Floats, onset: float) -> None:
    """Draw it under the curve, with the same steps. Dots: not measured."""
    rows = len(strip.names)
    logs = ratios(strip, steps, onset)
    limit = _limit(logs, strip, steps, onset)
    axes.set_facecolor("white")
    axes.add_patch(
        Rectangle(
            (0, 0),
            1,
            1,
            transform=axes.transAxes,
            facecolor="white",
            edgecolor="#cccccc",
            hatch="....",
            linewidth=0,
            zorder=0,
        )
    )
    columns = np.flatnonzero(strip.measured.any(axis=0))
    if len(columns):
        axes.pcolormesh(
            _edges(steps[columns]), np.arange(rows + 1) - 0.5, np.ma.masked_invalid(logs[:, columns]),
            cmap=COLOURS, vmin=-limit, vmax=limit, rasterized=True, zorder=1,
        )  # fmt: skip
    marked = _marks(axes, strip, steps)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.axvline(onset, color=INK, linewidth=1.3, linestyle=(0, (4, 2)), zorder=4)
    _names(axes, strip)
    _legend(figure, axes, limit, strip, marked)


def _median(values: Floats, axis: int | None) -> Floats:
    """The median of what is a number; NaN where nothing is, without numpy's warning for that."""
    masked = np.ma.masked_invalid(values)
    found: Floats = np.ma.filled(np.ma.median(masked, axis=axis), np.nan)  # type: ignore[no-untyped-call]
    return found


def _limit(logs: Floats, strip: Strip, steps: Floats, onset: float) -> float:
    """Where the scale ends: at what the suspects came to, and well above what all did before."""
    since = logs[list(strip.suspects) or slice(None)][:, steps >= onset]
    since, before = (np.abs(each[np.isfinite(each)]) for each in (since, logs[:, steps < onset]))
    most = float(np.quantile(since, 0.95)) if len(since) else 1.0
    noise = float(np.quantile(before, 0.9)) if len(before) else 0.0
    return min(max(most, NOISE_ROOM * noise, LEAST_LOG2), MOST_LOG2)


def _edges(steps: Floats) -> Floats:
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate(([steps[0] - (middle[0] - steps[0])], middle, [2 * steps[-1] - middle[-1]]))


def _marks(axes: Axes, strip: Strip, steps: Floats) -> bool:
    """NaN and infinities, and counts of them: a bar in a row, with crosses on it. Whether there are any."""
    bad = strip.measured & ~np.isfinite(strip.values)
    if strip.signal.endswith("nonfinite"):
        bad |= strip.measured & (strip.values > 0)
    if not bad.any():
        return False
    edges = _edges(steps)
    mesh = np.ma.masked_where(~bad, np.ones(bad.shape))
    axes.pcolormesh(
        edges, np.arange(len(strip.names) + 1) - 0.5, mesh,
        cmap=LinearSegmentedColormap.from_list("bad", [ALARM, ALARM]), rasterized=True, zorder=2,
    )  # fmt: skip
    least = (steps[-1] - steps[0]) / MARKS_A_ROW
    for row in np.flatnonzero(bad.any(axis=1)):
        at: list[float] = []
        for step in steps[bad[row]]:
            if not at or step - at[-1] >= least:
                at.append(step)
        axes.scatter(at, np.full(len(at), row), marker="x", s=13, color=INK, linewidth=1.0, zorder=3)
    return True


def _names(axes: Axes, strip: Strip) -> None:
    start = shared_start(strip.names)
    names = [drawn(name[len(start) :], NAME_LETTERS) for name in strip.names]
    marked = [f"▶ {name}" if row in strip.suspects else name for row, name in enumerate(names)]
    size = 8.5 if len(names) <= 14 else 7.5
    axes.set_yticks([])
    for row, name in enumerate(marked):  # a tick of each would take three times as long to draw
        axes.annotate(
            name, (0.0, row), xycoords=("axes fraction", "data"), xytext=(-3, 0), textcoords="offset points",
            ha="right", va="center", fontsize=size, color=INK, annotation_clip=False,
            fontweight="bold" if row in strip.suspects else "normal",
        )  # fmt: skip


def _legend(figure: Figure, axes: Axes, limit: float, strip: Strip, marked: bool) -> None:
    """What the shades mean, above the strip."""
    start = shared_start(strip.names)
    against = "its peers" if strip.of == "ranks" else "its own past"
    _write(axes, 21, drawn(f"{strip.signal}, by {strip.of[:-1]}", 50), 9.5, fontweight="bold", color=BLUE)
    _write(
        axes,
        10,
        f"{drawn(start, 24)}* against {against}" if start else f"each against {against}",
        8,
        color=INK,
    )
    if marked:
        axes.annotate(
            f"×: {strip.marks}", (1.0, 1.0), xycoords="axes fraction", xytext=(0, 21),
            textcoords="offset points", ha="right", va="bottom", fontsize=8, color=INK, annotation_clip=False,
        )  # fmt: skip
    if strip.signal in IDENTITIES:
        return  # only equal or not
    place = axes.get_position()
    height = figure.get_figheight()
    bar = figure.add_axes((0.66, place.y1 + 0.15 / height, 0.16, 0.1 / height))
    bar.imshow(np.linspace(-1, 1, 64)[None, :], aspect="auto", cmap=COLOURS)
    bar.set_xticks([])
    bar.set_yticks([])
    times = 2.0**limit
    low = f"1/{times:.2g}" if times >= 1.95 else f"-{1 - 1 / times:.0%}"
    high = f"×{times:.2g}" if times >= 1.95 else f"+{times - 1:.0%}"
    for x, text, side in ((-0.04, low, "right"), (1.04, high, "left")):
        bar.text(x, 0.5, text, transform=bar.transAxes, ha=side, va="center", fontsize=8)


def _write(axes: Axes, above: float, text: str, size: float, **style: Any) -> None:
    axes.annotate(
        text, (0.0, 1.0), xycoords=("figure fraction", "axes fraction"), xytext=(6, above),
        textcoords="offset points", ha="left", va="bottom", fontsize=size, annotation_clip=False, **style,
    )  # fmt: skip
