"""Brings one delivery to a receiver: attempt after attempt until its deadline, then to the one that stands in.

What waits between attempts holds nobody up, and pages have places of their own: a receiver that hangs on updates does
not keep a page waiting.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from anomaly.notify.delivery import Delivery, DeliveryError, Event, Receiver
from anomaly.notify.office import Office
from anomaly.notify.retry import retried
from anomaly.settings_receivers import ReceiverSpec

AT_ONCE = 4
"""Pages on their way or not yet written down at the same time, and as many deliveries of other kinds."""

ATTEMPT_SECONDS = 60.0
"""Longer than any receiver's own time-outs."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A receiver with its settings."""

    spec: ReceiverSpec
    receiver: Receiver

    @property
    def name(self) -> str:
        """The receiver's name."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Brought:
    """Who took it, and what it gave back. Use it with ``with`` while that is written down: until then it has its place
    among those on their way, so that while Kafka is away no more than a handful is told and not known to be.
    """

    by: str
    receipt: str | None
    place: asyncio.Semaphore

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.place.release()


class Courier:
    """Delivers for one receiver, and to its fallback where that has to stand in."""

    def __init__(self, own: Mailbox, fallback: Mailbox | None, office: Office) -> None:
        self._own = own
        self._fallback = fallback
        self._metrics = office.metrics
        self._check = office.check
        self._clock = office.clock
        self._sleep = office.sleep
        self._places: dict[tuple[str, bool], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(AT_ONCE)
        )
        self._quiet_until = 0.0

    async def bring(self, delivery: Delivery, began: float, via: str | None = None) -> Brought:
        """Deliver; `began` (unix seconds) is when the deadline began, `via` who has the incident by now.

        Raises the own receiver's `DeliveryError` where nobody took it.
        """
        stand_in = self._fallback
        has_it = stand_in is not None and via == stand_in.name
        mailbox = stand_in if has_it and stand_in is not None else self._own
        try:
            brought = await self._to(mailbox, delivery, began)
        except DeliveryError as error:
            if has_it or stand_in is None or not delivery.event.wakes:
                self._count("failed", delivery, error)
                raise
            return await self._stand_in(stand_in, delivery, error)
        self._metrics.deliveries.labels(self._own.name, "fallback" if has_it else "delivered").inc()
        return brought

    async def _stand_in(self, stand_in: Mailbox, delivery: Delivery, first: DeliveryError) -> Brought:
        log.error(
            "receiver %s: %s was not delivered in time, %s gets it: %s",
            self._own.name, delivery.key, stand_in.name, first,
        )  # fmt: skip
        fresh = msgspec.structs.replace(delivery, event=Event.PAGE, before=None, receipt=None)
        try:
            brought = await self._to(stand_in, fresh, self._clock())
        except DeliveryError as error:
            self._count("failed", delivery, error)
            raise
        self._metrics.deliveries.labels(self._own.name, "fallback").inc()
        return brought

    async def _to(self, mailbox: Mailbox, delivery: Delivery, began: float) -> Brought:
        deadline = began + mailbox.spec.deadline_seconds

        place = self._places[mailbox.name, delivery.event.wakes]

        async def attempt() -> str | None:
            await self._leave_alone(mailbox, deadline)
            await place.acquire()
            try:
                self._check()
                receipt = await _attempt(mailbox, delivery)
            except BaseException:
                place.release()
                raise
            self._metrics.failing.labels(mailbox.name).set(0)
            return receipt

        def failed(error: DeliveryError, attempts: int) -> None:
            self._failed(mailbox, delivery, error, attempts)

        receipt = await retried(attempt, failed, lambda: deadline - self._clock(), self._sleep)
        return Brought(mailbox.name, receipt, place)

    async def _leave_alone(self, mailbox: Mailbox, deadline: float) -> None:
        """Wait as long as the receiver asked for; not if that is longer than there is time."""
        while mailbox is self._own and (wait := self._quiet_until - self._clock()) > 0:
            if self._quiet_until > deadline:
                raise DeliveryError(f"it asked to be left alone for {wait:.0f} s more", retriable=False)
            await self._sleep(wait)

    def _failed(self, mailbox: Mailbox, delivery: Delivery, error: DeliveryError, attempts: int) -> None:
        if mailbox is self._own and error.retry_after_seconds is not None:
            self._quiet_until = max(self._quiet_until, self._clock() + error.retry_after_seconds)
        self._metrics.retries.labels(mailbox.name).inc()
        self._metrics.failing.labels(mailbox.name).set(1)
        log.warning("receiver %s: %s: attempt %d: %s", mailbox.name, delivery.key, attempts, error)

    def _count(self, outcome: str, delivery: Delivery, error: DeliveryError) -> None:
        self._metrics.deliveries.labels(self._own.name, outcome).inc()
        log.error("receiver %s: %s was not delivered: %s", self._own.name, delivery.key, error)


async def _attempt(mailbox: Mailbox, delivery: Delivery) -> str | None:
    """Deliver once. An error that is none of ours is one of the receiver's too: its text may hold a secret."""
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            return await mailbox.receiver.deliver(delivery)
    except DeliveryError:
        raise
    except TimeoutError:
        raise DeliveryError(f"no answer in {ATTEMPT_SECONDS:g} s", retriable=True) from None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise DeliveryError(
            f"{type(error).__name__} at {where.filename}:{where.lineno}; this is a mistake of ours, please report it",
            retriable=True,
        ) from None
