"""Work on incidents: one thing after the other for one incident, different incidents at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

Work = Callable[[], Awaitable[None]]


class Queues:
    """`failure` is the first error; whoever owns this ends because of it."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._queues: dict[str, deque[Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, incident: object) -> bool:
        return incident in self._queues

    def add(self, incident: str, work: Work) -> None:
        """Do `work` after all that waits for the same incident."""
        queue = self._queues.get(incident)
        if queue is not None:
            queue.append(work)
            return
        self._queues[incident] = deque([work])
        self.start(self._work_off(incident))

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work` beside all others."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self, seconds: float) -> None:
        """Let what is being done come to its end for so long; drop the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queues.clear()

    async def _work_off(self, incident: str) -> None:
        queue = self._queues[incident]
        while queue:
            await queue[0]()
            queue.popleft()
        del self._queues[incident]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()


async def ended(task: asyncio.Task[None]) -> None:
    """Wait for `task`, whatever becomes of it."""
    await asyncio.wait((task,))
