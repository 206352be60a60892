"""Crash, don't limp: after an error nothing is written and nothing committed; whoever starts workers starts another.

Stock Faust logs an exception in a timer or a signal handler and lives on, and after one in an agent it acknowledges
the batch and goes on behind it. So everything of ours runs inside `guarded`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, ParamSpec, TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError

from anomaly.errors import KafkaUnreachableError
from anomaly.exit_codes import ExitCode

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("anomaly.worker")


def die(code: ExitCode, why: str) -> NoReturn:
    """End at once, without any of the tidying up that could still write something."""
    log.critical("worker ends with exit code %d: %s", code, why)
    logging.shutdown()
    os._exit(code)


def code_of(error: BaseException) -> ExitCode:
    """Whether it was Kafka that went away, or us who are wrong."""
    if isinstance(
        error, KafkaUnreachableError | KafkaConnectionError | KafkaTimeoutError | NodeNotReadyError
    ):
        return ExitCode.KAFKA_UNREACHABLE
    return ExitCode.INTERNAL_ERROR


def fail(error: BaseException, where: str) -> NoReturn:
    """End because of `error`, with its traceback in the log."""
    log.critical("%s failed", where, exc_info=error)
    die(code_of(error), f"{where}: {error!r}")


def guarded(handler: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`handler`, but an exception in it is the end of the process."""

    @functools.wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            fail(error, getattr(handler, "__name__", "a handler"))

    return run


class Lease:
    """How long this worker may believe that its partitions are its own.

    Kafka gives them to another worker `session_seconds` after the last heartbeat it answered. From some time before
    that nothing may leave this process: `check` ends it. The heartbeats run in the consumer's own thread, so a busy
    event loop neither breaks the lease nor hides that the coordinator is out of reach.
    """

    SHARE = 0.8
    """Of the session: the rest is for what is already on its way."""

    def __init__(self, session_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = self.SHARE * session_seconds
        self._renewed: float | None = None

    def renew(self, at: float | None = None) -> None:
        """A heartbeat sent `at` (default: now) was answered, or partitions were assigned."""
        now = self._clock() if at is None else at
        self._renewed = now if self._renewed is None else max(now, self._renewed)

    def now(self) -> float:
        """The lease's clock, to note when a heartbeat was sent."""
        return self._clock()

    @property
    def lost(self) -> bool:
        """Whether another worker may own our partitions; False before the first assignment, when we own none."""
        return self._renewed is not None and self._clock() - self._renewed > self._seconds

    def check(self) -> None:
        """End the process if the lease is lost."""
        if self.lost:
            die(
                ExitCode.LEASE_LOST,
                "no heartbeat was answered for most of a session; another worker may go on",
            )
