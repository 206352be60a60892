"""Packs the records that wait into messages, each layout before the first record that follows it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from anomaly import codec
from anomaly.backlog import Backlog, Counts, Record
from anomaly.errors import RecordError
from anomaly.json_records import tags_of
from anomaly.records import MAX_RANK, Fork, LayoutMessage, Place, StepMessage, check_name, home_key

_log = logging.getLogger(__name__)

LAYOUT_SECONDS = 60.0
"""How often the layout is repeated, with tags and place, for workers that have not seen it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What is the same in all messages of one `anomaly.hook.Telemetry`."""

    run: str
    rank: int
    session: int
    place: Place | None = None
    tags: dict[str, str] | None = None
    fork: Fork | None = None

    def problems(self) -> list[str]:
        """What is wrong with it, a sentence each."""
        problems = [problem for problem in map(_problem, self._checks()) if problem]
        if not isinstance(self.rank, int) or not 0 <= self.rank <= MAX_RANK:
            problems.append(f"rank: got {self.rank!r}, an integer from 0 to {MAX_RANK} is needed")
        return problems

    def _checks(self) -> Iterator[Callable[[], object]]:
        yield partial(check_name, "run", self.run)
        yield partial(tags_of, self.tags)
        if self.fork is not None:
            yield partial(check_name, "fork.root", self.fork.root)
            yield partial(check_name, "fork.parent", self.fork.parent)


def _problem(check: Callable[[], object]) -> str:
    try:
        check()
    except RecordError as error:
        return error.detail
    except TypeError:
        return "run, fork: strings are needed"
    return ""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the time comes from."""

    unix_seconds: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Message(NamedTuple):
    """One Kafka message and how many records it holds; a layout holds none."""

    content: bytes
    records: int


class Outbox:
    """The messages that are next, oldest first, made from `backlog` as they are needed.

    A message stays in ``messages`` until it is acknowledged, so that the same bytes can be sent again.
    """

    def __init__(self, identity: Identity, backlog: Backlog, counts: Counts, clock: Clock) -> None:
        self.key = home_key(identity.run, identity.fork)
        self.messages: deque[Message] = deque()
        self._identity = identity
        self._backlog = backlog
        self._counts = counts
        self._clock = clock
        self._announced = b""
        self._repeat_at = 0.0
        self._refused = False

    @property
    def waiting(self) -> int:
        """Records not acknowledged yet."""
        return len(self._backlog) + sum(message.records for message in tuple(self.messages))

    @property
    def another_is_full(self) -> bool:
        """Whether as much waits as one message takes."""
        return self._backlog.fills_a_message

    def fill(self) -> None:
        """Pack what waits, if the last message is gone."""
        if self.messages:
            return
        now = self._clock.monotonic()
        if self._backlog.events_are_due(now):
            self._backlog.release_events(self._clock.unix_seconds())
        records = self._backlog.take()
        if not records:
            return
        layout = records[0].layout
        with_layout = layout.hash != self._announced or now >= self._repeat_at
        try:
            content = codec.encode_steps(self._message(records, with_context=with_layout))
        except Exception as error:  # whatever it is, what follows must go on
            self.refuse(error, len(records))
            return
        if with_layout:
            self._announced, self._repeat_at = layout.hash, now + LAYOUT_SECONDS
            announcement = LayoutMessage(self._identity.run, layout, self._identity.fork)
            self.messages.append(Message(codec.encode_layout(announcement), 0))
        self.messages.append(Message(content, len(records)))

    def refuse(self, error: Exception, records: int) -> None:
        """Give up on a message that can never be sent; count it, and say so once."""
        self._counts.refused_records += records
        level = logging.DEBUG if self._refused else logging.WARNING
        self._refused = True
        _log.log(
            level, "telemetry of run %s: %d records are not sent: %s", self._identity.run, records, error
        )

    def _message(self, records: list[Record], *, with_context: bool) -> StepMessage:
        identity, first = self._identity, records[0]
        return StepMessage(
            run=identity.run,
            rank=identity.rank,
            steps=[record.step for record in records],
            times=[record.time for record in records],
            values=np.stack([record.row for record in records]),
            layout_hash=first.layout.hash,
            session=identity.session,
            sequence=first.sequence,
            events=[record.events for record in records]
            if any(record.events for record in records)
            else None,
            tags=identity.tags if with_context else None,
            fork=identity.fork,
            place=identity.place if with_context else None,
        )
