"""What all desks of a notifier share, and how an entry and its partition go together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from anomaly.incidents.action_book import ActionBook
from anomaly.incidents.transition import Transition
from anomaly.notify.entry import Entry
from anomaly.notify.links import Links
from anomaly.notify.metrics import NotifierMetrics
from anomaly.notify.routing import Routes

Picture = Callable[[Transition], Awaitable[bytes | None]]


class Book(Protocol):
    """Where entries are written."""

    async def write(self, partition: int, entry: Entry) -> None:
        """Return once it is acknowledged."""

    async def forget(self, partition: int, receiver: str, incident: str) -> None:
        """The same for its tombstone."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and its partition."""

    partition: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Office:
    """What all desks share."""

    ledger: Book
    actions: ActionBook
    routes: Routes
    links: Links
    metrics: NotifierMetrics
    check: Callable[[], None]
    """Raises where another notifier may have gone on; asked before anything leaves."""
    picture: Picture | None = None
    clock: Callable[[], float] = time.time
    """Unix seconds."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
