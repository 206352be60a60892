"""What the hook sent, decoded: the records of a run in the order in which they were reported.

What a team reports beside the hook (attention, routers, zeros) joins the same records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly import codec
from anomaly.outbox import Clock
from anomaly.records import MILLIONTHS, Layout, LayoutMessage

START = 1_700_000_000.0
Layers = dict[str, dict[str, float]]
"""Layer → signal → value."""


class Memory:
    """A sender that only remembers."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = messages

    async def start(self) -> None:
        """Nothing to connect to."""

    async def send(self, key: bytes, value: bytes) -> None:
        """Remember."""
        self._messages.append(value)

    async def stop(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True, slots=True)
class Session:
    """One `Telemetry` object's life."""

    number: int
    rank: int
    world_size: int
    messages: list[bytes]


@dataclass(frozen=True, slots=True)
class Reported:
    """One record: where it comes from, and what was said beside the hook."""

    session: Session
    step: int
    layers: Layers
    clip_coefficient: float | None


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as the hook sent it. ``row`` is float32 of the layout's width."""

    step: int
    sequence: int
    row: NDArray[np.float32]
    layout: Layout
    events: tuple[dict[str, Any], ...]


class Trace:
    """Gathers a run; `records` is called when all hooks are closed."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._reported: list[Reported] = []

    def session(self, rank: int, world_size: int) -> tuple[Session, dict[str, Any]]:
        """A new session and the hook's options for it: its messages stay here, and no clock is read."""
        session = Session(len(self._sessions), rank, world_size, [])
        self._sessions.append(session)
        clock = Clock(unix_seconds=lambda: START, monotonic=lambda: 0.0)
        return session, {"sender": lambda: Memory(session.messages), "clock": clock}

    def note(
        self, session: Session, step: int, layers: Layers, clip_coefficient: float | None = None
    ) -> None:
        """A record was reported; `layers` is what it says beside the hook."""
        self._reported.append(Reported(session, step, layers, clip_coefficient))

    def records(self) -> list[tuple[Reported, Sent]]:
        """Every record, in the order of reporting."""
        sent = [iter(_decoded(session.messages)) for session in self._sessions]
        found = [(reported, next(sent[reported.session.number])) for reported in self._reported]
        if any(one.step != reported.step for reported, one in found) or any(list(rest) for rest in sent):
            raise RuntimeError("the hook sent other records than were reported")
        return found


def _decoded(messages: list[bytes]) -> list[Sent]:
    layouts: dict[bytes, Layout] = {}
    found: list[Sent] = []
    for content in messages:
        message = codec.decode(content)
        if isinstance(message, LayoutMessage):
            layouts[message.layout.hash] = message.layout
            continue
        layout = layouts[message.layout_hash]
        for at, row in enumerate(message.values):
            events = message.events[at] if message.events else ()
            sequence = (message.sequence or 0) + at
            found.append(Sent(message.steps[at] // MILLIONTHS, sequence, row, layout, events))
    return found
