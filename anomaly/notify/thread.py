"""The notifier within a worker: a thread with an event loop of its own, whose failure never ends the worker."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from anomaly.errors import AnomalyError
from anomaly.health import Health
from anomaly.notify.decide import Reason
from anomaly.notify.metrics import NotifierMetrics
from anomaly.notify.service import Notifier
from anomaly.settings import Settings

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
STOP_SECONDS = 3.0
LONG_RUN_SECONDS = 300.0
"""After this the next failure counts as a first one."""

log = logging.getLogger(__name__)


class NotifierThread:
    """Notifies while entered; after an error again, with growing pauses. Its metrics go to the worker's `registry`."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._metrics = NotifierMetrics(registry, [spec.name for spec in settings.receiver_specs], Reason)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            began = self._loop.time()
            try:
                await Notifier(self._settings, self._metrics, Health()).run(self._stop)
            except Exception as error:  # detection goes on, whatever it is
                if self._loop.time() - began > LONG_RUN_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                self._metrics.restarts.inc()
                self._say(error, pause)
                await self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _say(self, error: Exception, pause: float) -> None:
        if isinstance(error, AnomalyError):
            log.error("the notifier in this worker starts again in %g s: %s", pause, error)
        else:
            log.error("the notifier in this worker failed and starts again in %g s", pause, exc_info=error)

    async def _wait(self, seconds: float) -> None:
        assert self._stop is not None
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
