"""Strips of values around an incident: layers by steps, or ranks by steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents import Transition
from anomaly.notify.wanted import IDENTITIES, MAX_LAYERS_KEPT, Bools, Piece, rows_of
from anomaly.records import NOT_MEASURED_BITS

MAX_ROWS = 24
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
    marks: str = "no number"
    """What it means that a value is none."""


def series(
    of_rank: OfRank, steps: Sequence[float], statistic: str, layer: str | None
) -> tuple[Floats, Bools]:
    """A statistic of one rank at these steps, and where it was measured. `layer` None: the whole model's."""
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


def layer_strip(transition: Transition, of_ranks: Sequence[OfRank], steps: Sequence[float]) -> Strip | None:
    """Those around the suspects; a layer's values are those of the last of these ranks that reports it.

    None where the incident is of no layer, or there is only one.
    """
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
    values, there = found.view(np.float32).astype(np.float64), found != NOT_MEASURED_BITS
    return Strip("layers", signal, names, suspects, values, there)


def rank_strip(
    transition: Transition,
    of_ranks: Mapping[int, OfRank],
    steps: Sequence[float],
    shown: tuple[str, str | None],
) -> Strip | None:
    """These ranks by the statistic `shown` (of a layer, or None), or by the identity that they should share.

    None where there is only one.
    """
    if len(of_ranks) < 2:
        return None
    signal, marks = shown[0], "no number"
    values, there = _stacked(of_ranks, steps, *shown)
    if transition.statistic in IDENTITIES:
        identities, present = _stacked(of_ranks, steps, transition.statistic, None)
        if present.any():
            signal, marks = transition.statistic, "not as most have it"
            values, there = _odd_ones(identities, present), present
    ranks = list(of_ranks)
    suspects = tuple(ranks.index(rank) for rank in transition.ranks if rank in of_ranks)
    return Strip("ranks", signal, tuple(f"rank {rank}" for rank in ranks), suspects, values, there, marks)


def _stacked(
    of_ranks: Mapping[int, OfRank], steps: Sequence[float], statistic: str, layer: str | None
) -> tuple[Floats, Bools]:
    pairs = [series(of_rank, steps, statistic, layer) for of_rank in of_ranks.values()]
    return np.stack([values for values, _ in pairs]), np.stack([there for _, there in pairs])


def _odd_ones(values: Floats, there: Bools) -> Floats:
    """1 where a rank has what most have at that step, NaN where it has something else."""
    found = np.ones(values.shape)
    for step in np.flatnonzero(there.any(axis=0)):
        kinds, counts = np.unique(values[there[:, step], step], return_counts=True)
        found[values[:, step] != kinds[counts.argmax()], step] = np.nan
    return found
