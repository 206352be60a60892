"""The background thread: sends each message until it is acknowledged.

One message is in flight at a time. So order needs no proof: after a failure the same bytes are sent again, by a new
client if need be, before anything that follows. A reader sees every sequence number in order, perhaps twice. At a high
step rate this loses no throughput, because all that waited meanwhile travels in the next message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anomaly.backlog import Counts
from anomaly.errors import RecordError
from anomaly.outbox import Outbox
from anomaly.refusals import ThreadLog, explained, reason_of
from anomaly.sender import Sender

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pacing:
    """When the thread does what; all in seconds.

    It looks for records every ``look`` seconds and is never woken by one: woken, it would take the interpreter just
    when the training thread goes on, and a step would cost 200 µs instead of 5. So it mostly works while the training
    thread computes outside the interpreter, and what comes within one look travels in one message.
    """

    look: float = 0.05
    acknowledgement: float = 30.0
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    closing_backoff: float = 0.2


class Producer:
    """Sends what `outbox` packs from a daemon thread of its own, which starts at once."""

    def __init__(
        self,
        run: str,
        outbox: Outbox,
        make_sender: Callable[[], Sender],
        counts: Counts,
        pacing: Pacing,
    ) -> None:
        self._run_id = run
        self._outbox = outbox
        self._make_sender = make_sender
        self._counts = counts
        self._pacing = pacing
        self._failures_in_a_row = 0
        self._jitter = random.Random(os.urandom(8))  # never the global generator: that one is the training's
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session_task: asyncio.Task[None] | None = None
        self._stop_sleeping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{run}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records not acknowledged yet."""
        return self._outbox.waiting

    def close(self, timeout: float) -> bool:
        """Send what waits for at most `timeout` seconds, then end the thread; True if nothing was left."""
        self._closing.set()
        self._call(self._wake)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._abandoned.set()
            self._call(self._cancel_session)
            self._thread.join(2.5)
        return self.waiting == 0

    # Everything below runs in the thread.

    def _run(self) -> None:
        import aiokafka  # noqa: F401 - before ThreadLog, so that its loggers exist

        with ThreadLog() as log:
            while not self._done():
                log.latest = ""
                try:
                    with asyncio.Runner(loop_factory=_Loop) as runner:
                        runner.run(self._session())
                except (Exception, asyncio.CancelledError) as error:  # whatever it is: try again later
                    self._failed(error, log.latest)
                    self._back_off()

    def _done(self) -> bool:
        if self._abandoned.is_set():
            return True
        return self._closing.is_set() and self._outbox.waiting == 0

    async def _session(self) -> None:
        self._loop, self._session_task = asyncio.get_running_loop(), asyncio.current_task()
        self._stop_sleeping = asyncio.Event()
        sender = self._make_sender()
        try:
            async with asyncio.timeout(self._pacing.acknowledgement):
                await sender.start()
            while not self._done():
                self._outbox.fill()
                while self._outbox.messages:
                    await self._send_first(sender)
                if not self._outbox.another_is_full:
                    await self._sleep()
        finally:
            await sender.stop()

    async def _send_first(self, sender: Sender) -> None:
        message = self._outbox.messages[0]
        try:
            async with asyncio.timeout(self._pacing.acknowledgement):
                await sender.send(self._outbox.key, message.content)
        except RecordError as error:
            self._outbox.refuse(error, message.records)
        else:
            self._counts.acknowledged += message.records
            self._counts.messages += 1
        self._outbox.messages.popleft()
        if self._failures_in_a_row:
            self._failures_in_a_row = 0
            _log.info("telemetry of run %s is being sent again: %s", self._run_id, self._counts.as_dict())

    async def _sleep(self) -> None:
        assert self._stop_sleeping is not None
        if not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_sleeping.wait(), self._pacing.look)

    def _failed(self, error: BaseException, logged: str) -> None:
        if self._abandoned.is_set():
            return
        reason = explained(reason_of(error, logged))
        if self._counts.failures == 0:
            _log.warning(
                "telemetry of run %s cannot be sent: %s. Training goes on and the newest records are kept; this is"
                " tried again and again without further warnings",
                self._run_id,
                reason,
            )
        else:
            _log.debug("telemetry of run %s cannot be sent: %s", self._run_id, reason)
        self._counts.failures += 1  # last: whoever sees it counted finds the reason in the log
        self._failures_in_a_row += 1

    def _back_off(self) -> None:
        if self._closing.is_set():
            self._abandoned.wait(self._pacing.closing_backoff)
            return
        longest = self._pacing.first_backoff * 2.0 ** min(self._failures_in_a_row - 1, 30)
        self._closing.wait(min(longest, self._pacing.longest_backoff) * self._jitter.uniform(0.5, 1.0))

    def _wake(self) -> None:
        if self._stop_sleeping is not None:
            self._stop_sleeping.set()

    def _cancel_session(self) -> None:
        if self._session_task is not None:
            self._session_task.cancel()

    def _call(self, callback: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: between two sessions nobody sleeps in it
                loop.call_soon_threadsafe(callback)


class _Loop(asyncio.SelectorEventLoop):
    """Resolves host names and computes logins in the thread itself: at the interpreter's exit no helper thread may be
    started.
    """

    def run_in_executor(  # type: ignore[override]  # typed by each argument there
        self, executor: Any, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(function(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        return socket.getaddrinfo(host, port, **options)
