"""Places at which a test may end the worker; nothing happens unless ``ANOMALY_TEST_FAULT`` says so.

``ANOMALY_TEST_FAULT=state_sent:3`` is SIGKILL at the third passage of the point ``state_sent``. The variable is read
once; without it a passage costs one comparison, and none of the points is passed for every record.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import os
import signal
from typing import Any

from aiokafka.errors import KafkaTimeoutError

VARIABLE = "ANOMALY_TEST_FAULT"
LOST_SECONDS = 2.0


class Point(enum.StrEnum):
    """In the order in which a record's effects pass them."""

    PROCESSED = "processed"
    OUTBOX_SENT = "outbox_sent"
    OUTBOX_LOST = "outbox_lost"
    """Not the end yet: from here on nothing of the outbox is sent, and after `LOST_SECONDS` that is an error."""
    OUTBOX_ACKNOWLEDGED = "outbox_acknowledged"
    STATE_SENT = "state_sent"
    STATE_ACKNOWLEDGED = "state_acknowledged"
    COMMITTED = "committed"


_point, _, _at = os.environ.get(VARIABLE, "").partition(":")
_passages = itertools.count(1)


def reached(point: Point) -> None:
    """End here, if this passage is the one that was asked for."""
    if point == _point and next(_passages) == int(_at or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def lost() -> asyncio.Future[Any] | None:
    """The acknowledgement of a record that no broker takes; None while brokers take them."""
    if _point != Point.OUTBOX_LOST or next(_passages) < int(_at or 1):
        return None
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    loop.call_later(LOST_SECONDS, future.set_exception, KafkaTimeoutError("lost, as a test asked"))
    return future
