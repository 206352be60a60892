"""The ranks of one step against each other: replicas that no longer agree, a gradient that stands out, a straggler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import MAX_EVIDENCE, MAX_LAYERS_NAMED, Evidence
from anomaly.monitor.state import PendingStep, RunState
from anomaly.records import NOT_MEASURED_BITS, step_number
from detectors.peers import leave_one_out, minority

OUTLIER_Z = 12.0
OUTLIER_EFFECT = 1.0
"""log2: a rank's norm is at least twice or half of its peers' before it is an outlier."""
OUTLIER_IN_A_ROW = 2
STRAGGLER_RATIO = 1.5
STRAGGLER_IN_A_ROW = 5


def compare(state: RunState, pending: PendingStep) -> list[Alarm]:
    """What the records that the ranks sent of one step say of each other."""
    numbers = sorted(pending.values)
    if len(numbers) < 2:
        return []
    stacked = np.stack([waiting_values(state, pending, pending.values[number]) for number in numbers])
    alarms = _replicas(state, numbers, stacked, pending.step)
    alarms += _gradients(state, numbers, stacked, pending.step)
    return alarms + _straggler(state, numbers, stacked, pending.step)


def waiting_values(state: RunState, pending: PendingStep, raw: bytes) -> NDArray[np.float32]:
    """A waiting record in slot order, float32 [slots]; slots that came since then are not measured in it."""
    values = state.table.blank.copy()
    known = np.frombuffer(raw, np.float32)
    if pending.model_only:
        values[state.table.model_only[: len(known)]] = known
    else:
        values[: len(known)] = known
    return values


def _replicas(state: RunState, numbers: list[int], stacked: NDArray[np.float32], step: int) -> list[Alarm]:
    """Weight hashes of ranks that hold the same part of the model must agree once they have agreed (F44)."""
    slot = state.table.model_slots.get("weight_hash")
    if slot is None:
        return []
    alarms = []
    for group in _replica_groups(state, numbers):
        hashes = stacked[[numbers.index(number) for number in group], slot]
        measured = hashes.view(np.uint32) != NOT_MEASURED_BITS
        members = [number for number, has in zip(group, measured, strict=True) if has]
        if len(members) < 2:
            continue
        odd = [members[at] for at in minority(hashes[measured])]
        agreed = state.peer_runs.setdefault("replicas_agreed", [])
        if not odd:
            agreed[:] = [1]
        elif agreed:
            evidence = Evidence("weight_hash", float(len(odd)), 0.0, float(len(odd)), "replica_vote")
            alarms.append(rank_alarm("replica_divergence", odd, step, (evidence,)))
    return alarms


def _replica_groups(state: RunState, numbers: list[int]) -> list[list[int]]:
    groups: dict[tuple[int | None, int | None], list[int]] = {}
    for number in numbers:
        place = state.ranks[number].place
        groups.setdefault((place.tensor, place.pipeline) if place else (None, None), []).append(number)
    return list(groups.values())


def _gradients(state: RunState, numbers: list[int], stacked: NDArray[np.float32], step: int) -> list[Alarm]:
    """A rank whose local gradient norms leave its peers', twice in a row (F45)."""
    if len(numbers) < 3:
        return []
    table = state.table
    slots = table.slots_of(("grad_norm", "grad_norm_total"))
    scores, effects = leave_one_out(stacked[:, slots])
    scores *= state.slab.levels.gain("peers")
    out = (np.abs(scores) >= OUTLIER_Z) & (np.abs(effects) >= OUTLIER_EFFECT)
    standing = [number for at, number in enumerate(numbers) if out[at].any()]
    lasting = _in_a_row(state, "gradient", numbers, standing, OUTLIER_IN_A_ROW)
    if not lasting or len(lasting) * 2 >= len(numbers):
        return []
    at = numbers.index(lasting[0])
    worst = np.argsort(-np.abs(scores[at]) * out[at], kind="stable")[:MAX_EVIDENCE]
    evidence = tuple(
        Evidence(
            table.signal_name(int(slots[column])),
            float(stacked[at, slots[column]]),
            float(np.nanmedian(stacked[:, slots[column]])),
            float(abs(scores[at, column]) / OUTLIER_Z),
            "peers",
            table.layer_name(int(slots[column])),
            step_number(step),
        )
        for column in worst
        if out[at, column]
    )
    layers = tuple(dict.fromkeys(entry.layer for entry in evidence if entry.layer is not None))
    return [rank_alarm("rank_gradient_outlier", lasting, step, evidence, layers)]


def _straggler(state: RunState, numbers: list[int], stacked: NDArray[np.float32], step: int) -> list[Alarm]:
    """One rank's own step time well above its peers' median, several steps in a row (F47)."""
    slot = state.table.model_slots.get("step_seconds")
    if slot is None or len(numbers) < 2:
        return []
    seconds = stacked[:, slot]
    if not np.isfinite(seconds).all() or not (seconds > 0).all():
        return []
    median = float(np.median(seconds)) if len(numbers) > 2 else float(seconds.min())
    slow = [number for at, number in enumerate(numbers) if seconds[at] > STRAGGLER_RATIO * median]
    lasting = _in_a_row(state, "seconds", numbers, slow, STRAGGLER_IN_A_ROW)
    if not lasting or len(lasting) * 2 > len(numbers):
        return []
    worst = float(seconds[numbers.index(lasting[0])])
    evidence = Evidence("step_seconds", worst, median, worst / median, "peers", since_step=step_number(step))
    return [rank_alarm("straggler", lasting, step, (evidence,))]


def _in_a_row(state: RunState, name: str, numbers: list[int], standing: list[int], needed: int) -> list[int]:
    """Ranks that stood out in the last `needed` comparisons; a comparison that a rank was not in says nothing of it."""
    flat = state.peer_runs.get(name, [])
    runs = dict(zip(flat[::2], flat[1::2], strict=True))
    for number in numbers:
        if number in standing:
            runs[number] = runs.get(number, 0) + 1
        else:
            runs.pop(number, None)
    state.peer_runs[name] = [entry for number in sorted(runs) for entry in (number, runs[number])]
    return [number for number in standing if runs[number] >= needed]


def rank_alarm(
    kind: str, ranks: list[int], step: int, evidence: tuple[Evidence, ...], layers: tuple[str, ...] = ()
) -> Alarm:
    """An alarm about ranks."""
    return Alarm(kind, KINDS[kind].severity, step, evidence, layers[:MAX_LAYERS_NAMED], tuple(ranks))
