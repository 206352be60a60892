"""When a delivery that failed is tried again: back-off with jitter, or what the receiver asked for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from anomaly.notify.delivery import DeliveryError

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0

T = TypeVar("T")


def pause_seconds(attempts: int, asked: float | None, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after `attempts` failures: from half a second doubling to 30, each cut by up to a half at
    random so that not all come back at once; at least what was `asked` for.

    >>> [pause_seconds(n, None, lambda: 0.0) for n in (1, 2, 7, 1000)], pause_seconds(1, 120.0, lambda: 0.0)
    ([0.5, 1.0, 30.0, 30.0], 120.0)
    """
    doubled = min(FIRST_SECONDS * 2.0 ** min(attempts - 1, 10), LONGEST_SECONDS)
    return max(doubled * (1.0 - jitter() / 2.0), asked or 0.0)


async def retried(
    attempt: Callable[[], Awaitable[T]],
    failed: Callable[[DeliveryError, int], None],
    seconds_left: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """`attempt` until it succeeds; at least once, and no more once its time is over.

    Raises the last `DeliveryError`, or one that is not retriable at once; and where the receiver asks for more time
    than is left, so that whoever stands in for it is told now.
    """
    attempts = 0
    while True:
        try:
            return await attempt()
        except DeliveryError as error:
            attempts += 1
            failed(error, attempts)
            wait = pause_seconds(attempts, error.retry_after_seconds)
            if not error.retriable or wait >= seconds_left():
                raise
            await sleep(wait)
