"""Ranks that hold the same weights must go on doing so (F44): an exact vote among those that once agreed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.transition import MAX_LAYERS_NAMED, Evidence
from anomaly.monitor.state import RunState
from anomaly.records import NOT_MEASURED_BITS
from detectors.consensus import minority

AGREED = 3
"""Comparisons in a row in which ranks agree before they are replicas: 24 bits agree by chance, but not so often."""
_GROUPS = "replicas"


def replica_alarms(
    state: RunState, numbers: list[int], stacked: NDArray[np.float32], step: int
) -> list[Alarm]:
    """Of ranks in equal places that held equal weights before, those that no longer do.

    `stacked`: float32 [ranks, slots], in the order of `numbers`. Shards have never agreed, and no one says who holds
    which: a rank's replicas are those whose hash was its own at first.
    """
    slot = state.table.model_slots.get("weight_hash")
    if slot is None:
        return []
    hashes = stacked[:, slot]
    measured = hashes.view(np.uint32) != NOT_MEASURED_BITS
    values = {
        number: float(value) for number, value, has in zip(numbers, hashes, measured, strict=True) if has
    }
    flat = state.peer_runs.get(_GROUPS, [])
    known = {
        rank: (group, times) for rank, group, times in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    }
    replicas: dict[int, list[int]] = {}
    for number in values:
        group, times = known.get(number, (number, 0))
        if times >= AGREED:  # not so for a rank that no other has agreed with
            replicas.setdefault(group, []).append(number)
    odd: list[int] = []
    for members in replicas.values():
        odd += [members[at] for at in minority(np.array([values[each] for each in members], np.float32))]
    _learn(state, known, values)
    if not odd:
        return []
    layers = _differing(state, numbers, stacked, odd, replicas)
    evidence = Evidence("weight_hash", float(len(odd)), 0.0, float(len(odd)), "replica_vote")
    return [alarm_of("replica_divergence", step, (evidence,), layers, tuple(sorted(odd)))]


def _differing(
    state: RunState,
    numbers: list[int],
    stacked: NDArray[np.float32],
    odd: list[int],
    replicas: dict[int, list[int]],
) -> tuple[str, ...]:
    """The layers whose weights differ in norm between odd ranks and the others, the most different first."""
    slots = state.table.slots_of(("weight_norm",))
    members = next(members for members in replicas.values() if odd[0] in members)
    others = [number for number in members if number not in odd]
    if not len(slots) or not others:
        return ()
    with np.errstate(all="ignore"):
        logs = np.log2(stacked[:, slots].astype(np.float64))
        apart = np.abs(logs[numbers.index(odd[0])] - logs[numbers.index(others[0])])
    apart = np.where(np.isfinite(apart), apart, 0.0)
    order = [at for at in np.argsort(-apart, kind="stable").tolist() if apart[at] > 0.0]
    names = (state.table.layer_name(int(slots[at])) for at in order[:MAX_LAYERS_NAMED])
    return tuple(name for name in names if name is not None)


def _learn(state: RunState, known: dict[int, tuple[int, int]], values: dict[int, float]) -> None:
    """Ranks that are nobody's replica for certain: with whom they agree, and how often in a row."""
    if all(known.get(number, (0, 0))[1] >= AGREED for number in values):
        return
    alike: dict[tuple[float, int | None, int | None], list[int]] = {}
    for number, value in values.items():
        place = state.ranks[number].place
        key = (value, *((place.tensor, place.pipeline) if place else (None, None)))
        alike.setdefault(key, []).append(number)
    for members in alike.values():
        settled = [known[number][0] for number in members if known.get(number, (0, 0))[1] >= AGREED]
        first = settled[0] if settled else members[0]
        for number in members if len(members) > 1 else ():
            group, times = known.get(number, (first, 0))
            if times < AGREED:
                known[number] = (first, times + 1 if group == first else 1)
    state.peer_runs[_GROUPS] = [entry for rank in sorted(known) for entry in (rank, *known[rank])]
