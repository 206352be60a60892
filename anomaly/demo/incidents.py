"""The demo's reader of the incidents topic: a thread that hands transitions over with the moment they came."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from anomaly.connection import Connection
from anomaly.incidents.transition import Transition, decode_transition
from anomaly.reading import TopicReader

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A transition, new to this reader, and when it came (monotonic seconds)."""

    transition: Transition
    monotonic: float


class IncidentReader:
    """Follows the incidents topic while entered; each transition once."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._servers = bootstrap_servers
        self._topic = topic
        self._arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="incidents", daemon=True)
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self.error: BaseException | None = None

    def take(self) -> list[Arrival]:
        """What came since the last call."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._arrivals.get_nowait())
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            self._task = self._loop.create_task(self._follow())
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _follow(self) -> None:
        seen: set[tuple[str, int]] = set()
        async with TopicReader(Connection(self._servers)) as reader:
            async for record in reader.follow(self._topic, True, lambda: None, self._ready.set):
                transition = decode_transition(record.value)
                key = (transition.incident, transition.transition)
                if key not in seen:
                    seen.add(key)
                    self._arrivals.put(Arrival(transition, time.monotonic()))
