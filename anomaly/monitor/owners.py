"""Whose values are charted where several ranks report: each series is the lowest live rank's that reports it.

Charts of a single series take it on arrival. What looks at many series of a reading at once, or at readings in a row,
needs all of them: where the series are of several ranks (a pipeline's last stage has the loss, each has its layers) a
step is read as a whole when its ranks are compared. Where one rank has all, its record is that reading.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.series import WHOLE_MODEL
from anomaly.monitor.state import PendingStep, RankState, RunState
from anomaly.records import NOT_MEASURED_BITS


def own_first(state: RunState) -> None:
    """A second rank comes: what was ever measured is the first one's."""
    first = next(iter(state.ranks))
    state.owners = np.where(state.slab.ever_measured, first, -1).astype(np.int32)


def owned(
    state: RunState, number: int, rank: RankState, values: NDArray[np.float32], current: bool, step: int
) -> NDArray[np.float32] | None:
    """The values that this rank's record (float32 [slots]) gives to the charts: its series, and those it takes over.

    What the rank before it has already fed is not fed twice. None when nothing is left.
    """
    owners = state.owners
    if not current or owners is None:
        return None
    measured = values.view(np.uint32) != NOT_MEASURED_BITS
    taken = measured & ((owners > number) | (owners < 0))
    fed = measured & (owners == number)
    if taken.any():
        for before in np.unique(owners[taken]).tolist():
            earlier = state.ranks.get(before)
            behind = earlier is not None and earlier.step is not None and earlier.attempt == rank.attempt
            if not (behind and earlier is not None and earlier.step is not None and step <= earlier.step):
                fed |= taken & (owners == before)
        state.owners = np.where(taken, np.int32(number), owners)
    if not fed.any():
        return None
    if fed.all():
        return values
    chosen = state.table.blank.copy()
    chosen[fed] = values[fed]
    return chosen


def are_several(state: RunState) -> bool:
    """Whether the series are of more than one rank."""
    owners = state.owners
    if owners is None:
        return False
    most = owners.max(initial=-1)
    return bool(((owners != most) & (owners >= 0)).any())


def whole_reading(state: RunState, pending: PendingStep) -> NDArray[np.float32] | None:
    """A step's values, each of the lowest rank that measured it: float32 [slots]. None if there is nothing to read."""
    numbers = [number for number in sorted(pending.values, reverse=True) if number != pending.read]
    if not numbers:
        return None
    whole = state.table.blank.copy()
    for number in numbers:
        values = state.waiting_values(pending, pending.values[number])
        np.copyto(whole, values, where=values.view(np.uint32) != NOT_MEASURED_BITS)
    return whole


def note_stages(state: RunState, numbers: list[int], stacked: NDArray[np.float32]) -> None:
    """Whose layers each of these ranks (float32 [ranks, slots]) reports most: so stages are told that say no place."""
    if state.owners is None:
        return
    slots = np.flatnonzero((state.table.slot_layer != WHOLE_MODEL) & (state.owners >= 0))
    owners = state.owners[slots]
    if not len(owners) or owners.min() == owners.max():
        for number in numbers:
            state.ranks[number].stage = None
        return
    measured = stacked[:, slots].view(np.uint32) != NOT_MEASURED_BITS
    for number, theirs in zip(numbers, measured, strict=True):
        if theirs.any():
            state.ranks[number].stage = int(np.bincount(owners[theirs]).argmax())
