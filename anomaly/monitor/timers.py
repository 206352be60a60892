"""What only time can tell: a run that went silent (F48), a rank of its world that never came (F49).

Ranks and layers that fall behind are found from the records of those that go on (`peers`, `missing_layers`); here is
what no record brings. A run is silent when no step record came for longer than ten times its median interval, and a
minute. A pause that it declared comes on top; gaps that it came back from twice are its habit, an evaluation that
nobody declares, and allow it half as much again; a finished run is not watched. The first record that comes again
resolves it.

Time comes in with `tick`: seconds of a clock that stands still while the worker is away or behind (`end_in_sight`), and
the wall clock for people. Nothing here is a function of the log, so nothing of it is read by the record path: its state
is `RunState.timers`, its incidents have a book of their own. What is restored goes on counting from the silence last
saved, which is done once half of the limit has passed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from itertools import islice
from statistics import median

from anomaly.incidents.alarm import alarm_of
from anomaly.incidents.book import MAX_RANKS_NAMED
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence, Source, Transition
from anomaly.monitor.context import declared_pauses
from anomaly.monitor.log import Outcome
from anomaly.monitor.peers import live_ranks
from anomaly.monitor.rules import last_good_step
from anomaly.monitor.state import RunState, Timers
from anomaly.records import home_key

SILENT_MEDIANS = 10
SILENT_SECONDS = 60.0
OWN_TAIL = 1.5
INTERVALS = 16
"""How many of a run's last intervals are remembered."""
FEW_INTERVALS = 3
UNKNOWN_SECONDS = 3600.0
"""Silence while fewer intervals are known: a first step compiles, fills caches, waits for data."""
PAUSE_SECONDS = 86_400.0
"""A declared pause without a length, the first time: nobody knows how long an evaluation takes."""
PAUSE_FACTOR = 10
LOOKS_A_TICK = 100
"""A run that is looked at may have to be brought back into memory first: all at once would hold up the records."""
TIMER_DETECTOR = "silence"
"""The `detector` of the timers' transitions, and of no others."""
NO_RECORD = sys.maxsize
"""Stands for the offset of what no record caused: it holds back no commit."""


class PartitionTimers:
    """The timers of one partition's runs: `runs` are those in memory, `find` brings back any."""

    def __init__(
        self,
        partition: int,
        runs: Mapping[str, RunState],
        find: Callable[[str], RunState | None] | None = None,
    ) -> None:
        self.partition = partition
        self.now = 0.0
        """Seconds that counted since the partition was opened."""
        self.arrivals: dict[str, int] = {}
        """Runs that messages came from since the last tick."""
        self.silent: set[str] = set()
        self._find = find or runs.get
        self._last: dict[str, float] = {}
        self._due: dict[str, float] = {}
        """When to look at a run again, if no record comes before."""
        for state in runs.values():
            self._resume(state)

    def adopt(self, sent: Transition) -> None:
        """Take in a transition of a timer that was sent before a crash; the state may have been saved before it."""
        state = self._find(sent.run)
        if state is not None:
            state.timers = state.timers or Timers()
            state.timers.book.adopt(sent)
            self._resume(state)

    def tick(self, seconds: float, unix_seconds: float) -> Outcome:
        """Let `seconds` pass (0: they do not count); what comes of it. `unix_seconds` is the time for people."""
        self.now += seconds
        outcome = Outcome()
        arrivals, self.arrivals = self.arrivals, {}
        for run in arrivals:
            state = self._find(run)
            if state is not None:
                self._arrived(state, seconds > 0, unix_seconds, outcome)
        due = (run for run, due in self._due.items() if due < self.now)
        for run in list(islice(due, LOOKS_A_TICK)):
            state = self._find(run)
            if state is None or state.life.closed:
                self.forget(run)
            elif state.timers is None:
                self._resume(state)
            else:
                self._look(state, state.timers, unix_seconds, outcome)
        return outcome

    def forget(self, run: str) -> None:
        """The run is gone."""
        self.silent.discard(run)
        self._last.pop(run, None)
        self._due.pop(run, None)

    def wake(self, run: str, timers: Timers | None) -> None:
        """Go on counting where the snapshot of a run stood that is not in memory, and look no sooner than it must."""
        timers = timers or Timers()
        self._last[run] = self.now - timers.quiet
        if timers.book.of_kind("run_silent") is not None:
            self.silent.add(run)
            self._due.pop(run, None)
        else:
            usual = usual_limit(timers)  # no limit is lower
            self._due[run] = self._last[run] + (usual / 2 if timers.quiet < usual / 2 else usual)

    def _resume(self, state: RunState) -> None:
        """Go on counting where the state's snapshot stood."""
        timers = state.timers or Timers(messages=state.messages, attempt=state.attempt)
        if not state.life.closed:
            state.timers = timers
        self.wake(state.run, timers)

    def _arrived(self, state: RunState, counts: bool, unix_seconds: float, outcome: Outcome) -> None:
        timers = state.timers = state.timers or Timers()
        if state.messages == timers.messages:
            return  # a layout is no sign of life: a producer may repeat it while its loop hangs
        timers.messages = state.messages
        gap = self.now - self._last.get(state.run, self.now) if counts else 0.0
        if gap:
            _learn(state, timers, gap)
        timers.attempt, timers.quiet = state.attempt, 0.0
        timers.paused = bool(state.context.paused and declared_pauses(state))
        self._last[state.run] = self.now
        soonest = self.now + SILENT_SECONDS / 2  # an earlier look finds this record, and sets the next
        if self._due.get(state.run, math.inf) > soonest:
            self._due[state.run] = soonest
        if state.run in self.silent:
            self.silent.discard(state.run)
            self._end(state, timers, "run_silent", unix_seconds, outcome)
        if state.multiple_ranks:
            self._see_world(state, timers, gap, unix_seconds, outcome)

    def _look(self, state: RunState, timers: Timers, unix_seconds: float, outcome: Outcome) -> None:
        """No record came for a while: not long enough, long enough to be saved, or silence."""
        last = self._last[state.run]
        quiet, limit = self.now - last, silence_limit(state, timers)
        del self._due[state.run]
        if quiet > limit:
            usual = median(timers.intervals) if timers.intervals else None
            evidence = Evidence("silent_seconds", round(quiet, 3), usual, quiet / limit, TIMER_DETECTOR)
            timers.quiet = quiet
            self.silent.add(state.run)
            self._begin(state, timers, "run_silent", evidence, (), unix_seconds, outcome)
        elif quiet >= limit / 2:
            if timers.quiet < limit / 2:
                timers.quiet = quiet
                _touch(state, outcome)
            self._due[state.run] = last + limit
        elif limit < math.inf:
            self._due[state.run] = last + limit / 2

    def _see_world(
        self, state: RunState, timers: Timers, gap: float, unix_seconds: float, outcome: Outcome
    ) -> None:
        """Ranks of the world that never reported although most do; where most do not, nobody asked them to."""
        live, known = live_ranks(state), timers.book.of_kind("partial_telemetry")
        if not 0 < live.unseen < len(live.seen):
            timers.waited = 0.0
            if known is not None:
                self._end(state, timers, "partial_telemetry", unix_seconds, outcome)
            return
        timers.waited += gap
        if known is None and timers.waited > usual_limit(timers):
            absent = (number for number in range(len(state.ranks) + live.unseen) if number not in state.ranks)
            ranks = tuple(islice(absent, min(live.unseen, MAX_RANKS_NAMED)))
            world = float(len(live.seen) + live.unseen)
            evidence = Evidence("ranks_reporting", float(len(live.seen)), world, 1.0, TIMER_DETECTOR)
            self._begin(state, timers, "partial_telemetry", evidence, ranks, unix_seconds, outcome)

    def _begin(
        self, state: RunState, timers: Timers, kind: str, evidence: Evidence, ranks: tuple[int, ...],
        unix_seconds: float, outcome: Outcome,
    ) -> None:  # fmt: skip
        moment = self._moment(state, unix_seconds)
        alarm = alarm_of(kind, moment.step, (evidence,), ranks=ranks)
        good = last_good_step(state, moment.step + 1)
        key = home_key(state.run, state.fork)
        outcome.transitions.append((key, timers.book.begin(state.run, alarm, moment, good)))
        _touch(state, outcome)

    def _end(self, state: RunState, timers: Timers, kind: str, unix_seconds: float, outcome: Outcome) -> None:
        key = home_key(state.run, state.fork)
        moment = self._moment(state, unix_seconds)
        outcome.transitions += [(key, each) for each in timers.book.end(state.run, kind, moment)]
        _touch(state, outcome)

    def _moment(self, state: RunState, unix_seconds: float) -> Moment:
        step = state.newest_step or 0
        source = Source(self.partition, state.offset) if state.offset >= 0 else None
        return Moment(
            step, state.readings, state.attempt, unix_seconds, source,
            tuple(state.context.checkpoints), state.tags,
        )  # fmt: skip


def usual_limit(timers: Timers) -> float:
    """Seconds without a record that are too long, outside any declared pause."""
    if len(timers.intervals) < FEW_INTERVALS:
        return UNKNOWN_SECONDS
    habit = timers.longest[0] if len(timers.longest) > 1 else 0.0
    return max(SILENT_SECONDS, SILENT_MEDIANS * median(timers.intervals), OWN_TAIL * habit)


def silence_limit(state: RunState, timers: Timers) -> float:
    """Seconds without a record that are too long now; infinite once the run has finished, or is closed."""
    if state.context.outcome is not None or state.life.closed:
        return math.inf
    pauses = declared_pauses(state)
    if not pauses:
        return usual_limit(timers)
    unstated = PAUSE_SECONDS
    if timers.longest_pause:
        unstated = max(UNKNOWN_SECONDS, PAUSE_FACTOR * timers.longest_pause)
    return usual_limit(timers) + max(unstated if seconds is None else seconds for seconds in pauses)


def _learn(state: RunState, timers: Timers, gap: float) -> None:
    """Take a gap between records that ended: of a declared pause, or the run's own; none across a restart."""
    if timers.attempt != state.attempt:
        timers.longest = []  # without a session the first late record ended the gap, before it was known a restart
    elif timers.paused:
        timers.longest_pause = max(timers.longest_pause, gap)
    else:
        timers.intervals.append(gap)
        if len(timers.intervals) > INTERVALS:
            del timers.intervals[0]
        if len(timers.longest) < 2 or gap > timers.longest[0]:
            timers.longest = sorted([*timers.longest, min(gap, UNKNOWN_SECONDS)])[-2:]


def _touch(state: RunState, outcome: Outcome) -> None:
    """The state has to be saved although no record changed it: its revision says that it is the newer one."""
    if state.run not in outcome.touched:
        state.revision += 1
        outcome.touched[state.run] = NO_RECORD
