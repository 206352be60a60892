"""A decoded message against its run's state: slots, admission, attempts; each admitted record is judged."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.errors import Reason, RecordError
from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence, Source
from anomaly.monitor.before_resume import note_resume
from anomaly.monitor.context import RESTART, be_cautious, restart_looks
from anomaly.monitor.explanation import considered
from anomaly.monitor.judge import judge
from anomaly.monitor.limits import Limits
from anomaly.monitor.log import Outcome
from anomaly.monitor.missing_layers import missing_layers
from anomaly.monitor.owners import own_first
from anomaly.monitor.peers import note_message
from anomaly.monitor.placing import in_slots, placed
from anomaly.monitor.plain import QUIET, take_plain
from anomaly.monitor.restarts import (
    STRAYS_MAKE_DUPLICATE,
    Admission,
    admission_of,
    begins_anew,
    check_sessions,
    goes_on,
    join_attempt,
    note_session,
)
from anomaly.monitor.rules import last_good_step
from anomaly.monitor.state import RankState, RunState, SlotRecord
from anomaly.records import MILLIONTHS, StepMessage, home_key

MAX_WAITING_BYTES = 4 << 20
"""Of all ranks' late records, which wait in the state for what they are to be."""


def apply_steps(
    state: RunState, message: StepMessage, source: Source | None, limits: Limits, outcome: Outcome
) -> None:
    """Admit and judge every record of a message. Raises `RecordError` where it contradicts its layout."""
    layout = message.layout or state.layouts[message.layout_hash]
    records, width = message.values.shape
    if width != layout.width:
        raise RecordError(
            Reason.LAYOUT_CONTRADICTION,
            f"got {width} values a record, layout {layout.hash.hex()} has {layout.width}; send the layout that fits",
        )
    rank = _rank(state, message, limits)
    placement = placed(state, layout, limits)
    for reason, refused in placement.refused:
        outcome.counts[reason] += refused * records
    note_message(state, rank)
    table, plain = state.table, 0
    for at in range(records):
        if state.table is not table:  # judging the record before has charted a series anew
            table, placement = state.table, placed(state, layout, limits)
        values = in_slots(table, placement, message.values[at])
        flags = _by_the_short_way(state, message, rank, at, values, limits)
        if flags == QUIET:
            plain += 1
        else:
            _admit(_Arrival(state, message, rank, at, values, source, limits), outcome, flags)
    if plain:
        outcome.counts[Admission.JUDGED] += plain
    if state.readings >= state.looks.due or state.looks.suspects:
        record = _Arrival(state, message, rank, records - 1, values, source, limits).record()
        steps = rank.interval / MILLIONTHS
        moment = state.moment(record)
        _book(state, missing_layers(state, message, placement, moment, steps), moment, outcome)
    outcome.counts["records"] += records
    outcome.counts["values"] += records * width


class _Arrival(NamedTuple):
    """One record on its way into its run's state."""

    state: RunState
    message: StepMessage
    rank: RankState
    at: int
    """Its place in the message."""
    values: NDArray[np.float32]
    """float32 [slots]"""
    source: Source | None
    limits: Limits

    @property
    def sequence(self) -> int | None:
        first = self.message.sequence
        return None if first is None else first + self.at

    def record(self) -> SlotRecord:
        message, at = self.message, self.at
        events = message.events[at] if message.events else ()
        return SlotRecord(message.steps[at], message.times[at], b"", events, self.source)


def _by_the_short_way(
    state: RunState,
    message: StepMessage,
    rank: RankState,
    at: int,
    values: NDArray[np.float32],
    limits: Limits,
) -> int | None:
    """As `take_plain`; None where the run or the message rules it out."""
    if message.events or state.owners is not None or limits.watches or len(state.table.count_slots):
        return None
    sequence = None if message.sequence is None else message.sequence + at
    return take_plain(state, rank, message.session, sequence, message.steps[at], message.times[at], values)


def _admit(arrival: _Arrival, outcome: Outcome, flags: int | None) -> None:
    """By what it is: new, repeated, late, the sign of a restart. `flags`: of the charts, where they have judged it."""
    state, rank, session = arrival.state, arrival.rank, arrival.message.session
    state.stretch = None
    record, sequence = arrival.record(), arrival.sequence
    admission = admission_of(rank, session, sequence, record.step)
    outcome.counts[admission] += 1
    if admission is Admission.DUPLICATE:
        return
    if admission is Admission.REPLACED_SESSION:
        rank.strays, rank.stray_step = rank.strays + 1, record.step
        return
    if admission is Admission.LATE:
        record.values = arrival.values.tobytes()
        in_line = rank.waiting and record.step > rank.waiting[-1].step
        rank.waiting = [*rank.waiting, record] if in_line else [record]
        if _waiting_bytes(state) > MAX_WAITING_BYTES:
            rank.waiting = []  # of a run of so many ranks and series the next late ones have to do
        return
    starts_over = admission is Admission.RESTART
    waited = rank.waiting if starts_over and session is None else []
    rank.waiting = []
    note_session(rank, session, sequence)
    for of_rank in waited:
        _judged(arrival, of_rank, of_rank.vector(state.table), outcome, starts_over)
        starts_over = False
    _judged(arrival, record, arrival.values, outcome, starts_over, flags)
    if rank.strays >= STRAYS_MAKE_DUPLICATE:
        rank.strays = 0
        _duplicate_run(state, record, max(record.step, rank.stray_step or record.step), outcome)


def _waiting_bytes(state: RunState) -> int:
    return sum(len(record.values) for rank in state.ranks.values() for record in rank.waiting)


def _judged(
    arrival: _Arrival,
    record: SlotRecord,
    values: NDArray[np.float32],
    outcome: Outcome,
    starts_over: bool,
    flags: int | None = None,
) -> None:
    state, rank, number = arrival.state, arrival.rank, arrival.message.rank
    key = home_key(state.run, state.fork)
    if len(values) != state.table.slots:  # a series was charted anew by the record before
        grown = state.table.blank.copy()
        grown[: len(values)] = values
        values = grown
    anew = starts_over and begins_anew(state, record.step)
    resumed = starts_over and goes_on(state, record.step)
    if join_attempt(state, rank, record.step, starts_over):
        outcome.transitions += [
            (key, each) for each in state.book.resolve_all(state.run, state.moment(record))
        ]
        _start_over(state, record.step, anew, resumed)
    transitions = judge(state, number, rank, record, values, arrival.limits.watches, flags)
    outcome.transitions += [(key, transition) for transition in transitions]
    if rank.step is not None and record.step > rank.step:
        rank.interval = record.step - rank.step
    rank.step = record.step
    state.last_time = record.time
    if state.first_time is None:
        state.first_time = record.time


def _start_over(state: RunState, step: int, anew: bool, resumed: bool) -> None:
    """A new attempt repeats steps: what compares steps starts anew, the charts keep what they know, with care."""
    if not anew:
        note_resume(state)
    before = [packed for packed in state.recent if packed >> 1 < step]  # what can be gone back to
    if len(before) < len(state.recent):  # else the weights are still those
        state.unmoved.restart()
    state.recent.clear()
    state.recent.extend(before)
    state.pending.clear()
    state.excursions.clear()
    state.peer_runs.clear()
    state.peer_chart = None
    state.context.nonfinite_step = None
    state.context.skipped = 0
    state.context.outcome = None
    state.context.paused = {}
    if state.context.settled_lr is None:  # it goes back within its warm-up: that is no end of the rise
        state.context.lr = None
    state.slab.restart(resumed=resumed)
    if not resumed:
        state.context.began = state.readings
    state.climb.restart()
    state.history.restart()
    restart_looks(state)
    be_cautious(state, RESTART)


def _rank(state: RunState, message: StepMessage, limits: Limits) -> RankState:
    rank = state.ranks.get(message.rank)
    if rank is None:
        if len(state.ranks) >= limits.ranks_per_run:
            raise RecordError(
                Reason.RANK_LIMIT,
                f"rank {message.rank} is one more than the {limits.ranks_per_run} ranks that a run may have; raise "
                "max_ranks_per_run, or send fewer ranks",
            )
        if len(state.ranks) == 1:
            own_first(state)
        rank = state.ranks[message.rank] = RankState(attempt=state.attempt)
        state.live = None
    check_sessions(rank, message.session, limits.sessions_per_rank)
    if message.place is not None and message.place != rank.place:
        rank.place = message.place
        state.live = None
    if message.tags is not None:
        state.tags = message.tags
    return rank


def _duplicate_run(state: RunState, record: SlotRecord, step: int, outcome: Outcome) -> None:
    """`step`: of the job that is further. A second one often begins anew, and people look where the first one is."""
    evidence = Evidence("session", float(STRAYS_MAKE_DUPLICATE), 0.0, 1.0, "sessions")
    alarm = alarm_of("duplicate_run", step, (evidence,))
    _book(state, [alarm], msgspec.structs.replace(state.moment(record), step=step), outcome)


def _book(state: RunState, alarms: list[Alarm], moment: Moment, outcome: Outcome) -> None:
    """Alarms that are not of one record alone."""
    if alarms:
        state.stretch = None
        good = partial(last_good_step, state)
        transitions = state.book.take(state.run, alarms, moment, good, considered(state, moment))
        key = home_key(state.run, state.fork)
        outcome.transitions += [(key, each) for each in transitions]
