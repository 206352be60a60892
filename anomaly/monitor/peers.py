"""Which ranks of a step are compared, and when; and which no longer report.

A step is compared at the record after which every live rank has reported it or a later one, or some reporter has
sent four further messages. What waits is part of the snapshot and bounded; beyond the bound only whole-model values
wait.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.comparisons import rank_alarm
from anomaly.monitor.state import ARRIVALS, Live, PendingStep, RankState, RunState

FURTHER_MESSAGES = 4
MISSING_MESSAGES = 10
MISSING_INTERVALS = 10
MAX_WAITING_BYTES = 2 << 20
MAX_WAITING_STEPS = 1024
"""Steps that wait at the most; then the oldest is compared as it stands. A message alone may bring thousands."""


def note_message(state: RunState, rank: RankState) -> None:
    """Count a message of a rank; a rank that reports is not missing."""
    state.messages += 1
    rank.messages += 1
    rank.arrivals.append(state.messages)
    if len(rank.arrivals) > ARRIVALS:
        del rank.arrivals[0]
    if rank.missing:
        rank.missing = False
        state.live = None


def wait_for_peers(state: RunState, number: int, step: int, values: NDArray[np.float32]) -> PendingStep:
    """Keep a rank's record of a step (float32 [slots]) until that step's ranks are compared; what waits of it."""
    at = bisect_left(state.pending, step, key=lambda waiting: waiting.step)
    if at == len(state.pending) or state.pending[at].step != step:
        state.pending.insert(at, PendingStep(step))
    pending = state.pending[at]
    model = state.table.model_only
    if not pending.model_only and _much_waits(state, values.nbytes):
        for waiting in state.pending:
            _keep_model_only(state, waiting)
    if pending.model_only:
        values = values[model]
    pending.values[number] = values.tobytes()
    pending.sent[number] = state.ranks[number].messages
    return pending


def _much_waits(state: RunState, more: int) -> bool:
    """Whether `more` bytes are too many beside what waits. It is added up only where it may be much."""
    if (len(state.pending) * len(state.ranks) + 1) * more <= MAX_WAITING_BYTES:
        return False  # nobody's values of a step are more than these
    held = sum(len(of_rank) for waiting in state.pending for of_rank in waiting.values.values())
    return held + more > MAX_WAITING_BYTES


def due_steps(state: RunState, number: int) -> list[PendingStep]:
    """Every step whose time has come with a record of rank `number`, oldest first; they wait no longer.

    Asking every reporter of a step at every record would take most of the time where there are thousands; the others
    have sent nothing since they were last asked.
    """
    due: list[PendingStep] = []
    while state.pending and (
        len(state.pending) > MAX_WAITING_STEPS or _due(state, state.pending[0], None if due else number)
    ):
        due.append(state.pending.pop(0))
    return due


def live_ranks(state: RunState) -> Live:
    """0 … world_size - 1 where the place is known, else the ranks seen; without the missing."""
    if state.live is None:
        size = _world_size(state)
        known = [number for number in state.ranks if size is None or number < size]
        seen = [number for number in known if not state.ranks[number].missing]
        state.live = Live(seen, unseen=0 if size is None else size - len(known))
    return state.live


def _world_size(state: RunState) -> int | None:
    """As the rank says that reported last: one that has left still has the place that it had."""
    placed = [rank for rank in state.ranks.values() if rank.place is not None and rank.place.world_size]
    newest = max(placed, key=lambda rank: rank.arrivals[-1] if rank.arrivals else -1, default=None)
    return None if newest is None or newest.place is None else newest.place.world_size


def _due(state: RunState, pending: PendingStep, number: int | None) -> bool:
    """Whether a waiting step is compared now; `number`: only that rank has reported since this was last asked."""
    sent = pending.sent
    for reporter in (number,) if number is not None else tuple(sent):
        if reporter in sent and state.ranks[reporter].messages - sent[reporter] >= FURTHER_MESSAGES:
            return True
    live = live_ranks(state)
    if live.unseen:
        return False
    if len(pending.values) >= len(live.seen):
        return True
    if state.newest_step is None or state.newest_step <= pending.step:
        return False  # nobody is past it, so who has not reported it has not reached it
    for each in live.seen:
        rank = state.ranks[each]
        if rank.step is None or rank.step < pending.step or rank.attempt != state.attempt:
            return False
    return True


def _keep_model_only(state: RunState, pending: PendingStep) -> None:
    if not pending.model_only:
        for number, raw in pending.values.items():
            pending.values[number] = state.waiting_values(pending, raw)[state.table.model_only].tobytes()
        pending.model_only = True


def missing_ranks(state: RunState, moment: Moment) -> list[Alarm]:
    """Ranks that most peers left behind (F49); half or more at once, or out of a smaller world, is a resize."""
    present = [number for number, rank in state.ranks.items() if not rank.missing and rank.arrivals]
    latest, furthest = _front(state, present)
    left = [
        number
        for number in present
        if state.ranks[number].arrivals[-1] < latest
        and (state.ranks[number].step or 0) < furthest
        and _left_behind(state, number, present)
    ]
    if not left:
        return []
    state.live = None
    for number in left:
        state.ranks[number].missing = True
        if state.owners is not None:
            state.owners = np.where(state.owners == number, -1, state.owners).astype(np.int32)
    size = _world_size(state)
    within = [number for number in left if size is None or number < size]
    resized = not within or len(left) * 2 >= len(present)
    kind, named = ("resize", left) if resized else ("partial_telemetry", within)
    first = min(state.ranks[number].step or moment.step for number in named)
    evidence = Evidence(
        "ranks_reporting", float(len(present) - len(left)), float(len(present)), 1.0, "missing_rank"
    )
    return [rank_alarm(kind, named, first, (evidence,))]


def _front(state: RunState, present: list[int]) -> tuple[int, int]:
    """The latest of the ranks' tenth last messages, and the furthest step: nobody at these is left behind.

    Asking every rank about every other would take seconds a step where there are thousands.
    """
    peers = [rank for number in present if (rank := state.ranks[number]).attempt == state.attempt]
    arrivals = (rank.arrivals[-MISSING_MESSAGES] for rank in peers if len(rank.arrivals) >= MISSING_MESSAGES)
    steps = (rank.step for rank in peers if rank.step is not None)
    return max(arrivals, default=-1), max(steps, default=-(1 << 64))


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
