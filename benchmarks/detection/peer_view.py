"""What the published rules look at: the loss and the total norm as a trainer has them, and each layer's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.detection.series import Floats, RankSeries, read


@dataclass(frozen=True)
class Alarm:
    """A rule's word at one step, with a layer or a rank where the rule looks at such."""

    step: float
    layer: str = ""
    rank: int | None = None


@dataclass(frozen=True)
class View:
    """One run. `loss` and `norm` are (steps, values): means over ranks, as a trainer's all-reduce gives them."""

    loss: tuple[Floats, Floats]
    norm: tuple[Floats, Floats]
    ranks: tuple[RankSeries, ...] = ()

    @property
    def first(self) -> RankSeries | None:
        """The rank whose layers the per-layer rules look at."""
        return self.ranks[0] if self.ranks else None


def view(file: Path) -> View:
    """A file of one run."""
    ranks = read(file)
    return View(over_ranks(ranks, "loss"), over_ranks(ranks, "grad_norm_total"), tuple(ranks))


def over_ranks(ranks: Sequence[RankSeries], signal: str) -> tuple[Floats, Floats]:
    """The mean over ranks at each step, in the lowest rank's order; a NaN of any rank stays one."""
    columns = [pair for each in ranks if len((pair := each.column(signal))[0])]
    if not columns:
        return np.empty(0), np.empty(0)
    steps, values = columns[0]
    if len(columns) == 1:
        return steps, values
    total, count = values.copy(), np.ones(len(values))
    for other_steps, other in columns[1:]:
        order = np.argsort(other_steps, kind="stable")
        at = np.searchsorted(other_steps[order], steps, side="right") - 1
        same = (at >= 0) & (other_steps[order][at] == steps)
        total[same] += other[order][at[same]]
        count[same] += 1
    return steps, total / count
