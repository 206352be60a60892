"""Incidents as the commands see them: read from their topic, the newest first, in bounded memory and time."""

from __future__ import annotations

import datetime
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from anomaly.errors import ActionError
from anomaly.incidents import ActionBook, Severity, Status, Transition, decode_action, decode_transition
from anomaly.reading import BLOCK_RECORDS, TopicReader
from anomaly.settings import Settings

LONGEST_SECONDS = 60.0
"""A topic is read back for so long; what is older than that is said not to have been looked at."""
LEAST_DIGITS = 4
HISTORY = 1000
"""Transitions of one incident, the newest."""


class _Glance(msgspec.Struct):
    """What chooses an incident. A topic may hold a million transitions: only those shown are read in full."""

    incident: str
    transition: int
    status: Status
    run: str
    kind: str
    severity: Severity


_glance = msgspec.json.Decoder(_Glance)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which incidents: of these runs and kinds, of this severity and above, changed since then, open ones alone."""

    run: str = "*"
    kind: str = "*"
    severity: Severity = Severity.INFO
    since: float = 0.0
    """Unix seconds."""
    resolved: bool = False

    def __call__(self, one: _Glance) -> bool:
        """Whether it is one of them."""
        return (
            (self.resolved or one.status is not Status.RESOLVED)
            and one.severity.rank >= self.severity.rank
            and fnmatchcase(one.run, self.run)
            and fnmatchcase(one.kind, self.kind)
        )


@dataclass(slots=True)
class Incident:
    """One incident with what is known of it, and where its transitions lie."""

    key: bytes | None
    partition: int
    unix_seconds: float
    """When its last transition was written."""
    transitions: dict[int, Transition] = field(default_factory=dict)

    @property
    def latest(self) -> Transition:
        """As it stands."""
        return self.transitions[max(self.transitions)]

    @property
    def is_over(self) -> bool:
        """Whether the worker has resolved it."""
        return self.latest.status is Status.RESOLVED


@dataclass(slots=True)
class Found:
    """The newest of the chosen incidents in their last states, the newest last, and how many there are of all."""

    incidents: list[Incident] = field(default_factory=list)
    counts: Counter[Severity] = field(default_factory=Counter)
    unreadable: int = 0
    read_back_to: float | None = None
    """Unix seconds; None: all that was asked for has been looked at."""


async def choose(
    reader: TopicReader,
    topic: str,
    chosen: Chosen,
    limit: int,
    clock: Callable[[], float] = time.monotonic,
    block_records: int = BLOCK_RECORDS,
) -> Found:
    """Look through the topic, and keep the newest `limit` of the chosen. `clock` is in seconds."""
    found, numbers, kept = Found(), dict[str, int](), dict[str, tuple[float, Any, Severity]]()
    async for block in _blocks(reader, topic, chosen.since, found, clock, block_records):
        for record in reversed(block):
            try:
                one = _glance.decode(record.value or b"")
            except (msgspec.MsgspecError, UnicodeDecodeError):
                found.unreadable += 1
                continue
            if one.transition <= numbers.get(one.incident, -1):
                continue  # a later state is known, or a worker that was killed has sent this one again
            numbers[one.incident] = one.transition
            if (old := kept.pop(one.incident, None)) is not None:
                found.counts[old[2]] -= 1
            if chosen(one):
                found.counts[one.severity] += 1
                kept[one.incident] = (record.timestamp, record, one.severity)
        if len(kept) > limit:
            kept = dict(sorted(kept.items(), key=lambda each: each[1][0])[-limit:])
    for _, record, _ in sorted(kept.values(), key=lambda each: each[0]):
        try:
            found.incidents.append(_with(None, record, decode_transition(record.value)))
        except Exception:  # whatever else was written to this topic must not end the command
            found.unreadable += 1
    return found


async def find(reader: TopicReader, topic: str, names: Iterable[str]) -> dict[str, Incident]:
    """The incident that each name begins, with its transitions.

    Raises `ActionError` where a name is none, or begins no incident or several.
    """
    names = [name.lower() for name in names]
    for name in names:
        if not re.fullmatch(f"[0-9a-f]{{{LEAST_DIGITS},16}}", name):
            raise ActionError(
                f"got {name[:40]!r}; an incident's ID, or its first {LEAST_DIGITS} or more of 16 hexadecimal digits, "
                "is needed: `anomaly incidents list` shows them"
            )
    wanted = re.compile(rb'"incident"\s*:\s*"(?:' + "|".join(names).encode() + rb")")
    incidents: dict[str, Incident] = {}
    found = Found()
    async for block in _blocks(reader, topic, 0.0, found):
        for record in reversed(block):
            if not wanted.search(record.value or b""):
                continue
            try:
                one = decode_transition(record.value)
            except Exception:  # whatever else was written to this topic
                continue
            incident = incidents[one.incident] = _with(incidents.get(one.incident), record, one)
            if len(incident.transitions) > HISTORY:
                del incident.transitions[min(incident.transitions)]
        if all(name in incidents and 0 in incidents[name].transitions for name in names):
            break
    return {name: _only(name, incidents, topic, found.read_back_to) for name in names}


async def read_actions(reader: TopicReader, settings: Settings) -> ActionBook:
    """What people did, as far as the topic holds it."""
    book = ActionBook()
    async for record in reader.to_end(settings.topics.incident_actions):
        try:
            book.take(decode_action(record.value))
        except ActionError:
            continue  # it does nothing for the notifier either, which counts it
    return book


async def _blocks(
    reader: TopicReader,
    topic: str,
    since: float,
    found: Found,
    clock: Callable[[], float] = time.monotonic,
    block_records: int = BLOCK_RECORDS,
) -> AsyncIterator[list[Any]]:
    started = clock()
    async for block in reader.backwards(topic, since, block_records):
        yield block
        if block and clock() - started > LONGEST_SECONDS:
            found.read_back_to = min(record.timestamp for record in block) / 1000
            return


def _with(incident: Incident | None, record: Any, one: Transition) -> Incident:
    if incident is None:
        incident = Incident(record.key, record.partition, record.timestamp / 1000)
    incident.transitions.setdefault(one.transition, one)
    return incident


def _only(name: str, incidents: dict[str, Incident], topic: str, read_back_to: float | None) -> Incident:
    fitting = sorted(one for one in incidents if one.startswith(name))
    if len(fitting) == 1:
        return incidents[fitting[0]]
    if fitting:
        few = ", ".join(fitting[:5]) + (", …" if len(fitting) > 5 else "")
        raise ActionError(f"{name} begins {len(fitting)} incidents: {few}; give more of its digits")
    far = (
        ""
        if read_back_to is None
        else f", read back for {LONGEST_SECONDS:.0f} s to {clock_text(read_back_to)}"
    )
    raise ActionError(
        f"{topic} holds no incident {name} (any more{far}); `anomaly incidents list --all` shows those it holds"
    )


def clock_text(unix_seconds: float) -> str:
    """A moment in this machine's time.

    >>> clock_text(1_790_000_000)[:8]
    '2026-09-'
    """
    return datetime.datetime.fromtimestamp(unix_seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")
