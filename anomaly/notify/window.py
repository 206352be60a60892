"""What a run measured around an incident: as arrays. Pure.

An incident of layers is shown as its statistic in the first suspect, over a strip of layers by steps; one of ranks as
that statistic of the first rank named, over a strip of ranks by steps; any other as the statistic alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents import Transition
from anomaly.notify.wanted import (
    GAIN,
    MAX_LAYERS_KEPT,
    Bools,
    Piece,
    Plan,
    before_and_after,
    measured,
    rows_of,
)
from anomaly.records import NOT_MEASURED_BITS
from anomaly.signals import LAYER_SIGNALS, MODEL_SIGNALS

MAX_ROWS = 24
MAX_RANKS_KEPT = 32
MAX_CURVES = 2
_NO_LEVEL = ("speed",)
"""Detectors whose numbers are not of the statistic itself."""
LATE_RECORDS = 3
"""Records that came late are no attempt."""
Floats = NDArray[np.float64]
OfRank = dict[float, tuple[Piece, int]]
"""Of each step of one rank, in the order of the log, the piece that holds it and the row there."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows by steps. `values` [rows, steps] are NaN or infinite where that was measured."""

    of: str
    """``layers`` or ``ranks``."""
    signal: str
    names: tuple[str, ...]
    suspects: tuple[int, ...]
    """Rows, the most probable origin first."""
    values: Floats
    measured: Bools


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
    by_rank: dict[int, OfRank] = {}
    for piece in pieces:
        of_rank = by_rank.setdefault(piece.rank, {})
        for at, step in enumerate(piece.steps):
            of_rank.pop(step, None)
            of_rank[step] = (piece, at)
    by_rank = {rank: _of_one_attempt(of_rank) for rank, of_rank in by_rank.items()}
    layer = None
    if plan.of_layer:
        layer = next((each.layer for each in transition.evidence if each.layer is not None), transition.layer)
    first = [rank for rank in transition.ranks if rank in by_rank]
    order = first + [rank for rank in sorted(by_rank) if rank not in first]
    found = _first(plan, by_rank, order, layer)
    if found is None and layer is not None:  # that layer reports no longer, or nothing
        layer = None
        found = _first(plan, by_rank, order, layer)
    if found is None:
        return None
    rank, statistic = found
    ranks = _ranks_shown(by_rank, transition.ranks) if plan.by_ranks else [rank]
    steps = sorted({step for each in ranks for step in by_rank[each]})
    steps = _cut(steps, transition)
    strip = _rank_strip(transition, by_rank, ranks, steps, statistic, layer) if plan.by_ranks else None
    if strip is None:
        others = [by_rank[each] for each in reversed(order) if each != rank]
        strip = _layer_strip(transition, [*others, by_rank[rank]], steps)
    of = [] if layer is None else [layer]
    of += [f"rank {rank}"] if transition.ranks else []
    shown = [statistic]
    if layer is None and strip is None:
        named = dict.fromkeys(each.statistic for each in transition.evidence if each.layer is None)
        shown += [name for name in named if name != statistic][: MAX_CURVES - 1]
    curves = []
    for name in shown:
        values, there = _series(by_rank[rank], steps, name, layer)
        if there.any():
            curves.append(Curve(name, ", ".join(of), values, there, _expected(transition, name, layer)))
    return Window(np.array(steps), tuple(curves), strip, tuple(notes)) if curves else None


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


def _series(
    of_rank: OfRank, steps: Sequence[float], statistic: str, layer: str | None
) -> tuple[Floats, Bools]:
    found = np.full(len(steps), NOT_MEASURED_BITS, np.uint32)
    for at, step in enumerate(steps):
        if (where := of_rank.get(step)) is None:
            continue
        piece, row = where
        if layer is None:
            if statistic in piece.model:
                found[at] = piece.model[statistic][row : row + 1].view(np.uint32)[0]
        elif piece.signal == statistic and layer in piece.layers:
            found[at] = piece.values[row, [piece.layers.index(layer)]].view(np.uint32)[0]
    return found.view(np.float32).astype(np.float64), found != NOT_MEASURED_BITS


def _layer_strip(transition: Transition, of_ranks: Sequence[OfRank], steps: Sequence[float]) -> Strip | None:
    """A layer's values are those of the last of these ranks that reports it."""
    pieces = [where for of_rank in of_ranks for where in of_rank.values()]
    signal = next((piece.signal for piece, _ in reversed(pieces) if piece.layers), None)
    forward: dict[str, None] = {}
    by_rank = sorted((piece for piece, _ in pieces if piece.signal == signal), key=lambda piece: piece.rank)
    for layers in dict.fromkeys(piece.layers for piece in by_rank):
        if len(forward) < MAX_LAYERS_KEPT:
            forward.update(dict.fromkeys(layers))
    if signal is None or not transition.layers or len(forward) < 2:
        return None
    every = list(forward)
    names = tuple(every[at] for at in rows_of(every, transition.layers, MAX_ROWS))
    rows, columns = ({name: at for at, name in enumerate(each)} for each in (names, steps))
    found = np.full((len(names), len(steps)), NOT_MEASURED_BITS, np.uint32)
    places: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
    for of_rank in of_ranks:
        for step, (piece, row) in of_rank.items():
            if piece.signal != signal or step not in columns:
                continue
            if piece.layers not in places:
                pairs = [(rows[name], at) for at, name in enumerate(piece.layers) if name in rows]
                places[piece.layers] = ([to for to, _ in pairs], [at for _, at in pairs])
            to, at_ = places[piece.layers]
            bits = piece.values[row, at_].view(np.uint32)
            found[to, columns[step]] = np.where(bits != NOT_MEASURED_BITS, bits, found[to, columns[step]])
    suspects = tuple(rows[name] for name in transition.layers if name in rows)
    values, measured = found.view(np.float32).astype(np.float64), found != NOT_MEASURED_BITS
    return Strip("layers", signal, names, suspects, values, measured)


def _rank_strip(
    transition: Transition,
    by_rank: dict[int, OfRank],
    ranks: Sequence[int],
    steps: Sequence[float],
    statistic: str,
    layer: str | None,
) -> Strip | None:
    if len(ranks) < 2:
        return None
    series = [_series(by_rank[rank], steps, statistic, layer) for rank in ranks]
    return Strip(
        of="ranks",
        signal=statistic,
        names=tuple(f"rank {rank}" for rank in ranks),
        suspects=tuple(ranks.index(rank) for rank in transition.ranks if rank in ranks),
        values=np.stack([values for values, _ in series]),
        measured=np.stack([measured for _, measured in series]),
    )
