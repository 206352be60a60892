"""What goes to a receiver, and what a receiver is: the words that `lane` and every module of `receivers` share."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from anomaly.errors import AnomalyError
from anomaly.incidents.transition import Severity, Transition


class Event(enum.StrEnum):
    """Why something is delivered. `page` and `escalate` wake someone; the others bring what is shown up to date."""

    PAGE = "page"
    UPDATE = "update"
    ESCALATE = "escalate"
    RESOLVE = "resolve"
    TEST = "test"

    @property
    def wakes(self) -> bool:
        """Whether this is for someone to look at now."""
        return self in (Event.PAGE, Event.ESCALATE)


class Page(msgspec.Struct, frozen=True):
    """What a person reads. Made by `anomaly.notify.page`."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """Name and text, the most useful first."""
    advice: str
    links: tuple[tuple[str, str], ...]
    """Name and URL."""
    runs: tuple[str, ...] = ()
    """Of a storm: every run."""


class Delivery(msgspec.Struct, frozen=True):
    """One thing to tell one receiver."""

    key: str
    """Idempotency: the same in every repeat. ``<incident>-<transition>``; a storm's: ``<storm id>-<number>``."""
    dedup: str
    """What the receiver groups by over its life: the incident, or the storm's id."""
    event: Event
    transitions: tuple[Transition, ...]
    """One; of a storm, the latest of each of its incidents."""
    page: Page
    before: Severity | None = None
    """The severity as paged before, for `escalate` and `resolve`: Alertmanager's labels are fixed at opening."""
    receipt: str | None = None
    """What `deliver` returned the first time."""
    picture: bytes | None = None
    """PNG."""
    storm: str | None = None
    """The storm's id: ``storm-<receiver>-<unix seconds>-<n>``."""


class Receiver(Protocol):
    """Someone who gets pages. Made by `anomaly.notify.receivers.build`."""

    name: str
    wants_picture: bool
    refresh_seconds: float | None
    """How often what is open is told again (Alertmanager: 60); None: never."""

    async def deliver(self, delivery: Delivery) -> str | None:
        """Tell it; return once it is acknowledged, with what it needs to find this again (or None).

        Raises `DeliveryError`.
        """

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Tell again what is open. Raises `DeliveryError`."""

    async def close(self) -> None:
        """Give back connections."""


class DeliveryError(AnomalyError):
    """A receiver did not take it. The message says what, got, limit and what to do, and holds no secret."""

    def __init__(self, message: str, *, retriable: bool, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.retry_after_seconds = retry_after_seconds
