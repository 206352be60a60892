"""A broker that only remembers, a clock that only moves when told, and a reader of what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly import Layout, Telemetry, codec
from anomaly.outbox import Clock
from anomaly.producer import Pacing
from anomaly.records import NOT_MEASURED_BITS, Event, Fork, LayoutMessage, Place

FAST = Pacing(look=0.001, first_backoff=0.001, longest_backoff=0.002, closing_backoff=0.001)


class Broker:
    """Remembers every message it was sent. ``failures`` are raised one a send, instead of or after remembering."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.keys: list[bytes] = []
        self.failures: list[Exception] = []
        self.connections = 0
        self.loses_acknowledgements = False
        self._away = False
        self._back: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def connect(self) -> BrokerSender:
        """What `Telemetry` takes as ``sender``."""
        return BrokerSender(self)

    def leave(self) -> None:
        """Let connections hang from now on."""
        self._away = True

    def come_back(self) -> None:
        """Let connections succeed again."""
        self._away = False
        for loop, event in self._back:
            with contextlib.suppress(RuntimeError):  # a connection that was given up meanwhile
                loop.call_soon_threadsafe(event.set)

    async def until_here(self) -> None:
        if self._away:
            event = asyncio.Event()
            self._back.append((asyncio.get_running_loop(), event))
            if self._away:
                await event.wait()


class BrokerSender:
    """One connection to a `Broker`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None:
        await self._broker.until_here()
        self._broker.connections += 1

    async def send(self, key: bytes, value: bytes) -> None:
        failure = self._broker.failures.pop(0) if self._broker.failures else None
        if failure is None or self._broker.loses_acknowledgements:
            self._broker.messages.append(value)
            self._broker.keys.append(key)
        if failure is not None:
            raise failure

    async def stop(self) -> None:
        pass


class Time:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def clock(self) -> Clock:
        return Clock(unix_seconds=lambda: 1_790_000_000.0 + self.seconds, monotonic=lambda: self.seconds)


class Sent(NamedTuple):
    """One record as a reader finds it. ``model`` and ``layers`` hold only what was measured."""

    sequence: int
    step: float
    time: float | None
    model: dict[str, float]
    layers: dict[str, dict[str, float]]
    events: tuple[Event, ...]
    tags: dict[str, str] | None
    place: Place | None
    fork: Fork | None
    layout: Layout


def telemetry(broker: Broker, run: str = "r1", *, pacing: Pacing = FAST, **options: Any) -> Telemetry:
    return Telemetry(run, sender=broker.connect, pacing=pacing, **options)


def read(messages: list[bytes]) -> list[Sent]:
    """Every record; fails if one comes before its layout."""
    return list(itertools.chain.from_iterable(_of_message(messages, at) for at in range(len(messages))))


def sequences(messages: list[bytes]) -> list[int]:
    return [record.sequence for record in read(messages)]


def _of_message(messages: list[bytes], at: int) -> list[Sent]:
    message = codec.decode(messages[at])
    if isinstance(message, LayoutMessage):
        return []
    before = [codec.decode(earlier) for earlier in messages[:at]]
    layouts = {known.layout.hash: known.layout for known in before if isinstance(known, LayoutMessage)}
    layout = layouts[message.layout_hash]
    assert message.sequence is not None
    found = []
    for number, row in enumerate(message.values):
        model, layers = named(layout, row)
        found.append(
            Sent(
                sequence=message.sequence + number,
                step=message.steps[number] / 1_000_000,
                time=message.times[number],
                model=model,
                layers=layers,
                events=message.events[number] if message.events else (),
                tags=message.tags,
                place=message.place,
                fork=message.fork,
                layout=layout,
            )
        )
    return found


def named(layout: Layout, row: NDArray[np.float32]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """A row by names, without what was not measured."""
    measured = np.ascontiguousarray(row).view(np.uint32) != NOT_MEASURED_BITS
    count = len(layout.model_signals)
    model = {name: float(row[at]) for at, name in enumerate(layout.model_signals) if measured[at]}
    layers: dict[str, dict[str, float]] = {}
    for number, layer in enumerate(layout.layers):
        for column, signal in enumerate(layout.signals):
            at = count + number * len(layout.signals) + column
            if measured[at]:
                layers.setdefault(layer, {})[signal] = float(row[at])
    return model, layers


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Give other threads and processes time until `condition` holds; fail after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        threading.Event().wait(0.005)


def in_first_order(numbers: list[int]) -> list[int]:
    """Without what came before, as every reader drops it."""
    highest = -1
    kept = []
    for number in numbers:
        if number > highest:
            kept.append(number)
            highest = number
    return kept
