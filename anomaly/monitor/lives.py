"""Which runs a partition knows, and when one is closed or forgotten: by the partition's own clock, from its log alone.

The *clock* is the largest Kafka timestamp among the partition's records so far. A record of a run sets until when, by
that clock, the run is open and until when it is known at all (`Life`). So what a record finds does not depend on when a
worker came round to dropping something:

    open       the run goes on
    closed     finished, or silent for long: what was learned is gone; attempt and incidents' ordinals go on
    forgotten  nothing is known of it: a new run, if there is room for one

There is room while fewer than `Limits.runs_per_partition` runs are known. After a crash records are judged again with
states that may be ahead of them; `Life.born` and `Life.past` say who was known then, so that a replay decides alike.

A producer's clock that is far ahead would close every run. Kafka 4 by itself refuses records of more than an hour ahead
(`message.timestamp.after.max.ms`), and nothing is closed sooner than two hours after its last record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from anomaly.errors import Reason, RecordError
from anomaly.incidents.book import IncidentBook
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Source, Transition
from anomaly.monitor.limits import Limits
from anomaly.monitor.state import Life, RunState, Timers
from anomaly.records import LayoutMessage, StepMessage
from detectors.levels import Levels

BRIEF_READINGS = 10
"""A run that never had more readings nor an incident is forgotten as soon as a finished one is closed: a producer that
invents run ids must not keep the room for as long as real runs do."""

PAST_LIVES = 4
"""A replay that spans more lives of one run, each at least as long as it takes to be forgotten, is not provided for."""


class Resting(Protocol):
    """A run that is not in memory: what is known of it."""

    @property
    def life(self) -> Life:
        """As in `RunState`."""

    @property
    def offset(self) -> int:
        """As in `RunState`."""


class Away(Protocol):
    """Runs that are kept elsewhere until their next record."""

    def bring(self, run: str) -> RunState | None:
        """The run, which is from now on the caller's; None where it is not there."""

    def resting(self) -> Mapping[str, Resting]:
        """All that are there."""


class Nowhere:
    """No run is away."""

    def bring(self, run: str) -> RunState | None:
        """Never."""
        return None

    def resting(self) -> Mapping[str, Resting]:
        """None."""
        return {}


class Lives:
    """The known runs of one partition: `runs` are those in memory, the same dict as the monitor's."""

    def __init__(self, runs: dict[str, RunState], away: Away, limits: Limits, clock: int) -> None:
        self.clock = clock
        self._runs = runs
        self._away = away
        self._limits = limits
        self.levels = limits.levels
        self._full_until = -1.0
        """There was no room when it was last counted, and by the clock nobody leaves before this."""

    def tick(self, unix_seconds: float | None) -> None:
        """A record with this Kafka timestamp is next; None: it has none."""
        if unix_seconds is not None:
            self.clock = max(self.clock, round(unix_seconds * 1000))

    def find(self, run: str) -> RunState | None:
        """The run's state, brought back where it was away."""
        state = self._runs.get(run)
        if state is None:
            state = self._away.bring(run)
            if state is not None:
                state.judge_by(self.levels)
                self._runs[run] = state
        return state

    def behind(self, run: str, offset: int) -> bool:
        """Whether the run's state has the effect of the record at `offset`. Brings nothing back."""
        known: Resting | None = self._runs.get(run) or self._away.resting().get(run)
        return known is not None and offset <= known.offset

    def admit(self, message: StepMessage | LayoutMessage, offset: int) -> RunState:
        """A state for a run that is not known or forgotten. Raises `RecordError` where there is no room."""
        known = self._runs.get(message.run)
        if not self._room(message.run, offset):
            raise RecordError(
                Reason.RUN_LIMIT,
                f"run {message.run!r} is one more than the {self._limits.runs_per_partition} runs that a partition may "
                "have; use fewer run ids, or raise max_runs_per_partition",
            )
        state = self._runs[message.run] = RunState(message.run, message.fork)
        state.judge_by(self.levels)
        state.life = Life(born=offset, past=[] if known is None else _past(known.life))
        state.forks = [] if known is None else known.forks
        self.lived(state)
        return state

    def lived(self, state: RunState) -> None:
        """A record of the run was applied: it is open, and known, from the clock on."""
        limits, life, clock = self._limits, state.life, self.clock
        closes = limits.silent_ms if state.context.outcome is None else limits.finished_ms
        brief = state.readings <= BRIEF_READINGS and not state.attempt and not state.book.ordinals
        life.closed, life.ends = False, clock + (limits.finished_ms if brief else limits.forgotten_ms)
        life.closes = min(clock + closes, life.ends)

    def open(self, life: Life) -> bool:
        """Whether the run's next record would find it neither closed nor unknown."""
        return not self.closed(life) and not self.forgotten(life)

    def closed(self, life: Life) -> bool:
        """Whether the run's next record would find it closed."""
        return life.closes is not None and self.clock > life.closes

    def forgotten(self, life: Life) -> bool:
        """Whether the run's next record would find it unknown."""
        return life.ends is not None and self.clock > life.ends

    def _room(self, run: str, offset: int) -> bool:
        limit = self._limits.runs_per_partition
        if len(self._runs) + len(self._away.resting()) < limit:
            return True
        if self.clock <= self._full_until:
            return False
        ends = [
            end for name, life in self.known() if name != run and self.clock <= (end := _end(life, offset))
        ]
        if len(ends) < limit:
            return True
        self._full_until = min(ends)
        return False

    def known(self) -> list[tuple[str, Life]]:
        """Every run, in memory or not."""
        known: Iterable[Mapping[str, Resting]] = (self._runs, self._away.resting())
        return [(run, resting.life) for runs in known for run, resting in runs.items()]


def _end(life: Life, offset: int) -> float:
    """Until when the run counts, for a record at `offset`, which its state may be ahead of."""
    if life.born <= offset:
        return float("inf") if life.ends is None else life.ends
    return next((ends for born, ends in reversed(life.past) if born <= offset), -1)


def _past(life: Life) -> list[tuple[int, int]]:
    return [*life.past, (life.born, life.ends or 0)][-PAST_LIVES:]


def reduced(state: RunState) -> RunState:
    """A closed run: what must outlive it. Its open incidents are resolved by its next record, if one comes."""
    return RunState(
        state.run,
        state.fork,
        offset=state.offset,
        revision=state.revision + 1,
        origins=state.origins,
        attempt=state.attempt,
        newest_step=state.newest_step,
        last_time=state.last_time,
        tags=state.tags if state.open_incidents else None,
        book=state.book,
        life=msgspec.structs.replace(state.life, closed=True),
        timers=_timers_of(state),
        saved=state.saved,
        forks=state.forks,
    )


def _timers_of(state: RunState) -> Timers | None:
    """What must outlive a closed run of its timers: their incidents, which end with its next record."""
    timers = state.timers
    return Timers(book=timers.book) if timers is not None and timers.book.ordinals else None


def reopened(
    state: RunState, time: float | None, source: Source, levels: Levels
) -> tuple[RunState, list[Transition]]:
    """A closed run whose next record came: the next attempt, which knows nothing; and what was open is resolved."""
    moment = Moment(state.newest_step or 0, 0, state.attempt, time, source, tags=state.tags)
    transitions = state.book.resolve_all(state.run, moment)
    fresh = RunState(
        state.run,
        state.fork,
        offset=state.offset,
        revision=state.revision,
        origins=state.origins,
        attempt=state.attempt + 1,
        book=IncidentBook(ordinals=state.book.ordinals),
        life=state.life,
        timers=state.timers,
        saved=state.saved,
        forks=state.forks,
    )
    fresh.judge_by(levels)
    return fresh, transitions


def cold(state: RunState, levels: Levels) -> RunState:
    """A run that starts cold: its incidents, attempt and ordinals stay, what was learned goes."""
    fresh = RunState(
        state.run,
        state.fork,
        offset=state.offset,
        revision=state.revision + 1,
        origins=state.origins,
        attempt=state.attempt,
        tags=state.tags,
        layouts=state.layouts,
        first_time=state.first_time,
        book=state.book,
        timers=state.timers,
        life=state.life,
        saved=state.saved,
        forks=state.forks,
    )
    fresh.judge_by(levels)
    return fresh


def smaller(state: RunState) -> RunState:
    """A run whose state is too large to be saved: it starts cold, without layouts and tags, which come again."""
    fresh = cold(state, state.slab.levels)
    fresh.layouts, fresh.tags = {}, None
    return fresh
