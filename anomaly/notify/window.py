"""What a run measured around an incident: as arrays. Pure.

An incident of layers is shown as its statistic in the first suspect, over a strip of layers by steps; one of ranks as
that statistic of the first rank named, over a strip of ranks by steps; any other as the statistic alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from anomaly.incidents import Transition
from anomaly.notify.strips import MAX_ROWS, Floats, OfRank, Strip, layer_strip, rank_strip, series
from anomaly.notify.wanted import GAIN, IDENTITIES, Bools, Piece, Plan, before_and_after, measured
from anomaly.signals import LAYER_SIGNALS, MODEL_SIGNALS

MAX_RANKS_KEPT = 32
MAX_CURVES = 2
_NO_LEVEL = ("speed",)
"""Detectors whose numbers are not of the statistic itself."""
LATE_RECORDS = 3
"""Records that came late are no attempt."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One statistic. `values` [steps] are NaN or infinite where that was measured."""

    statistic: str
    of: str
    """The layer or the rank that it is of; empty: the whole model's."""
    values: Floats
    measured: Bools
    expected: float | None = None
    """By the worker; None where it has none, or where another statistic is shown in place of its own."""

    @property
    def unit(self) -> str:
        """For people; empty where it is not known."""
        if self.statistic == GAIN:
            return "output over input"
        known = MODEL_SIGNALS.get(self.statistic) or LAYER_SIGNALS.get(self.statistic)
        return "" if known is None else known.unit


@dataclass(frozen=True, slots=True)
class Window:
    """The evidence around an incident. `steps` rise."""

    steps: Floats
    curves: tuple[Curve, ...]
    """One; of the whole model's two where the evidence names as many."""
    strip: Strip | None = None
    notes: tuple[str, ...] = field(default=())


def window_of(
    transition: Transition, plan: Plan, pieces: Iterable[Piece], notes: Sequence[str] = ()
) -> Window | None:
    """The arrays of what was read, in the order of the log; None where nothing of it was measured."""
    by_rank = _by_rank(pieces)
    first = [rank for rank in transition.ranks if rank in by_rank]
    order = first + [rank for rank in sorted(by_rank) if rank not in first]
    layer = _layer_of(transition) if plan.of_layer else None
    found = _first(plan, by_rank, order, layer)
    if found is None and layer is not None:  # that layer reports no longer, or nothing
        layer = None
        found = _first(plan, by_rank, order, layer)
    if found is None:
        return None
    rank, statistic = found
    shown = {each: by_rank[each] for each in _ranks_shown(by_rank, transition.ranks)} if plan.by_ranks else {}
    steps = _cut(sorted({step for each in shown.values() or (by_rank[rank],) for step in each}), transition)
    strip = rank_strip(transition, shown, steps, (statistic, layer)) if shown else None
    if strip is None:
        others = [by_rank[each] for each in reversed(order) if each != rank]
        strip = layer_strip(transition, [*others, by_rank[rank]], steps)
    names = [statistic]
    if layer is None and strip is None:
        names = _statistics_named(transition, statistic)
    curves = _curves(transition, by_rank[rank], (rank, layer), steps, names)
    return Window(np.array(steps), curves, strip, tuple(notes)) if curves else None


def _by_rank(pieces: Iterable[Piece]) -> dict[int, OfRank]:
    """Of each rank where its steps are, the latest of equal ones last."""
    by_rank: dict[int, OfRank] = {}
    for piece in pieces:
        of_rank = by_rank.setdefault(piece.rank, {})
        for at, step in enumerate(piece.steps):
            of_rank.pop(step, None)
            of_rank[step] = (piece, at)
    return {rank: _of_one_attempt(of_rank) for rank, of_rank in by_rank.items()}


def _layer_of(transition: Transition) -> str | None:
    return next((each.layer for each in transition.evidence if each.layer is not None), transition.layer)


def _statistics_named(transition: Transition, first: str) -> list[str]:
    """`first`, and what else of the whole model the evidence names."""
    named = dict.fromkeys(each.statistic for each in transition.evidence if each.layer is None)
    return [first, *(name for name in named if name not in (first, *IDENTITIES))][:MAX_CURVES]


def _curves(
    transition: Transition,
    of_rank: OfRank,
    where: tuple[int, str | None],
    steps: list[float],
    names: list[str],
) -> tuple[Curve, ...]:
    """Those of `names` that this rank has measured at `where`: a rank, and a layer if it is of one."""
    rank, layer = where
    of = ([] if layer is None else [layer]) + ([f"rank {rank}"] if transition.ranks else [])
    curves = []
    for name in names:
        values, there = series(of_rank, steps, name, layer)
        if there.any():
            curves.append(Curve(name, ", ".join(of), values, there, _expected(transition, name, layer)))
    return tuple(curves)


def _first(
    plan: Plan, by_rank: dict[int, OfRank], order: Sequence[int], layer: str | None
) -> tuple[int, str] | None:
    """The first of these ranks that has measured something of the plan, and what."""
    having = ((rank, _statistic(plan, by_rank[rank], layer)) for rank in order)
    return next(((rank, statistic) for rank, statistic in having if statistic is not None), None)


def _expected(transition: Transition, statistic: str, layer: str | None) -> float | None:
    for each in transition.evidence:
        if (each.statistic, each.layer) == (statistic, layer) and each.detector not in _NO_LEVEL:
            return each.expected if each.expected is not None and np.isfinite(each.expected) else None
    return None


def _of_one_attempt(of_rank: OfRank) -> OfRank:
    """Without what an earlier attempt measured beyond the newest step: it did not come to that again yet."""
    newest = max(list(of_rank)[-LATE_RECORDS:])
    return {step: where for step, where in of_rank.items() if step <= newest}


def _ranks_shown(by_rank: dict[int, OfRank], suspects: Sequence[int]) -> list[int]:
    named = [rank for rank in suspects if rank in by_rank][: MAX_ROWS // 2]
    others = [rank for rank in sorted(by_rank) if rank not in named]
    room = MAX_ROWS - len(named)
    if len(others) > room:
        others = [others[at] for at in np.linspace(0, len(others) - 1, room).round().astype(int)]
    return sorted({*named, *others})


def _cut(steps: list[float], transition: Transition) -> list[float]:
    """The readings around the onset."""
    onset = int(np.searchsorted(steps, transition.first_step))
    lasted = int(np.searchsorted(steps, transition.step)) - onset
    before, after = before_and_after(transition, lasted)
    return steps[max(0, onset - before) : onset + after]


def _statistic(plan: Plan, of_rank: OfRank, layer: str | None) -> str | None:
    """What of the plan this rank has measured."""
    if layer is not None:
        return next(
            (
                piece.signal
                for piece, _ in of_rank.values()
                if layer in piece.layers and measured(piece.values[:, piece.layers.index(layer)]).any()
            ),
            None,
        )
    for name in plan.model:
        if any(name in piece.model and measured(piece.model[name]).any() for piece, _ in of_rank.values()):
            return name
    return None
