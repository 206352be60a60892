"""Ranks of one step against each other: a rank that leaves its peers, replicas that no longer agree, a straggler.

A step is compared at the record after which every live rank has reported it or a later one, or some reporter has
sent four further messages. What waits is part of the snapshot and bounded; beyond the bound only whole-model values
wait.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import Moment
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import MAX_EVIDENCE, MAX_LAYERS_NAMED, Evidence
from anomaly.monitor.state import ARRIVALS, PendingStep, RankState, RunState
from anomaly.records import NOT_MEASURED_BITS, step_number
from detectors.peers import leave_one_out, minority

FURTHER_MESSAGES = 4
MISSING_MESSAGES = 10
MISSING_INTERVALS = 10
MAX_WAITING_BYTES = 2 << 20
OUTLIER_Z = 12.0
OUTLIER_EFFECT = 1.0
"""log2: a rank's norm is at least twice or half of its peers' before it is an outlier."""
OUTLIER_IN_A_ROW = 2
STRAGGLER_RATIO = 1.5
STRAGGLER_IN_A_ROW = 5


def note_message(state: RunState, rank: RankState) -> None:
    """Count a message of a rank; a rank that reports is not missing."""
    state.messages += 1
    rank.messages += 1
    rank.arrivals = [*rank.arrivals, state.messages][-ARRIVALS:]
    if rank.missing:
        rank.missing = False
        state.live = None


def wait_for_peers(state: RunState, number: int, step: int, values: NDArray[np.float32]) -> None:
    """Keep a rank's record of a step (float32 [slots]) until that step's ranks are compared."""
    pending = next((waiting for waiting in state.pending if waiting.step == step), None)
    if pending is None:
        pending = PendingStep(step)
        state.pending.append(pending)
        state.pending.sort(key=lambda waiting: waiting.step)
    model = state.table.model_only
    if not pending.model_only:
        held = sum(len(of_rank) for waiting in state.pending for of_rank in waiting.values.values())
        if held + values.nbytes > MAX_WAITING_BYTES:
            for waiting in state.pending:
                _keep_model_only(state, waiting)
    if pending.model_only:
        values = values[model]
    pending.values[number] = values.tobytes()
    pending.sent[number] = state.ranks[number].messages


def due_comparisons(state: RunState, moment: Moment) -> list[Alarm]:
    """Compare every step whose time has come, oldest first; then see which ranks no longer report."""
    alarms: list[Alarm] = []
    compared = False
    while state.pending and _due(state, state.pending[0]):
        alarms += _compare(state, state.pending.pop(0), moment)
        compared = True
    if compared:
        alarms += _missing_ranks(state, moment)
    return alarms


def live_ranks(state: RunState) -> list[int]:
    """0 … world_size - 1 where the place is known, else the ranks seen; without the missing."""
    if state.live is not None:
        return state.live
    sizes = [rank.place.world_size for rank in state.ranks.values() if rank.place and rank.place.world_size]
    expected = range(min(max(sizes), 1 << 20)) if sizes else sorted(state.ranks)
    state.live = [
        number for number in expected if number not in state.ranks or not state.ranks[number].missing
    ]
    return state.live


def _due(state: RunState, pending: PendingStep) -> bool:
    for number, sent in pending.sent.items():
        if state.ranks[number].messages - sent >= FURTHER_MESSAGES:
            return True
    live = live_ranks(state)
    if len(pending.values) >= len(live):
        return True
    if state.newest_step is None or state.newest_step <= pending.step:
        return False  # nobody is past it, so who has not reported it has not reached it
    for number in live:
        rank = state.ranks.get(number)
        if rank is None or rank.step is None or rank.step < pending.step or rank.attempt != state.attempt:
            return False
    return True


def _compare(state: RunState, pending: PendingStep, moment: Moment) -> list[Alarm]:
    numbers = sorted(pending.values)
    if len(numbers) < 2:
        return []
    stacked = np.stack([_vector(state, pending, pending.values[number]) for number in numbers])
    alarms = _replicas(state, numbers, stacked, pending.step)
    alarms += _gradients(state, numbers, stacked, pending.step)
    return alarms + _straggler(state, numbers, stacked, pending.step)


def _keep_model_only(state: RunState, pending: PendingStep) -> None:
    if not pending.model_only:
        for number, raw in pending.values.items():
            pending.values[number] = _vector(state, pending, raw)[state.table.model_only].tobytes()
        pending.model_only = True


def _vector(state: RunState, pending: PendingStep, raw: bytes) -> NDArray[np.float32]:
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
            alarms.append(_rank_alarm("replica_divergence", odd, step, (evidence,)))
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
    return [_rank_alarm("rank_gradient_outlier", lasting, step, evidence, layers)]


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
    return [_rank_alarm("straggler", lasting, step, (evidence,))]


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


def _missing_ranks(state: RunState, moment: Moment) -> list[Alarm]:
    """Ranks that most of their peers have left behind (F49); half or more leaving at once is a resize."""
    present = [number for number, rank in state.ranks.items() if not rank.missing and rank.arrivals]
    left = [number for number in present if _left_behind(state, number, present)]
    if not left:
        return []
    state.live = None
    for number in left:
        state.ranks[number].missing = True
        if state.owners is not None:
            state.owners = np.where(state.owners == number, -1, state.owners).astype(np.int32)
    kind = "resize" if len(left) * 2 >= len(present) else "partial_telemetry"
    first = min(state.ranks[number].step or moment.step for number in left)
    evidence = Evidence(
        "ranks_reporting", float(len(present) - len(left)), float(len(present)), 1.0, "missing_rank"
    )
    return [_rank_alarm(kind, left, first, (evidence,))]


def _left_behind(state: RunState, number: int, present: list[int]) -> bool:
    rank = state.ranks[number]
    if rank.step is None or rank.attempt != state.attempt:
        return False
    ahead = 0
    needed = MISSING_INTERVALS * max(rank.interval, 1)
    for other in present:
        peer = state.ranks[other]
        if other == number or peer.step is None or peer.attempt != state.attempt:
            continue
        if len(peer.arrivals) >= MISSING_MESSAGES and peer.arrivals[-MISSING_MESSAGES] > rank.arrivals[-1]:
            ahead += peer.step - rank.step >= needed
    return ahead * 2 >= len(present) - 1 > 0 and ahead > 0


def _rank_alarm(
    kind: str, ranks: list[int], step: int, evidence: tuple[Evidence, ...], layers: tuple[str, ...] = ()
) -> Alarm:
    return Alarm(kind, KINDS[kind].severity, step, evidence, layers[:MAX_LAYERS_NAMED], tuple(ranks))
