"""One receiver's desk: what it was told of each incident, and what it is told next. Knows nothing of how records come.

Before someone is woken the ledger says so (`Entry.pending`), and again when it is acknowledged. Transitions of one
incident come one after the other; what is beyond the receiver's limit is gathered (`storm`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from anomaly.incidents.actions import Action
from anomaly.incidents.transition import Status, Transition
from anomaly.notify import compose
from anomaly.notify.courier import Courier, Mailbox
from anomaly.notify.decide import HELD_BACK, Decision, Reason, decide, decide_again
from anomaly.notify.delivery import DeliveryError, Event
from anomaly.notify.entry import Entry, Outcome
from anomaly.notify.gate import Gate
from anomaly.notify.office import Office, Placed
from anomaly.notify.storm import Storms

FORGET_SECONDS = 14 * 86_400
"""After this without a word an incident is no longer told of, though nothing said that it ended."""
PICTURE_SECONDS = 2.0
TRY_AGAIN_SECONDS = 60.0
"""Before what nobody took is tried once more, if its deadline is not longer."""

log = logging.getLogger(__name__)


class Desk:
    """See the module."""

    def __init__(self, mailbox: Mailbox, fallback: Mailbox | None, office: Office) -> None:
        self.mailbox = mailbox
        self.office = office
        self.courier = Courier(mailbox, fallback, office)
        self.gate = Gate(mailbox.spec.pages_per_minute)
        self.entries: dict[str, Placed] = {}
        self.apart = mailbox.receiver.refresh_seconds is not None
        """It keeps every incident apart by itself, as Alertmanager does: only the first page is gathered."""
        self.storms = Storms(self)
        self._refreshing: set[str] = set()
        self._refreshed = asyncio.Event()

    @property
    def name(self) -> str:
        """The receiver's."""
        return self.mailbox.name

    def load(self, found: Mapping[int, Mapping[str, Entry]]) -> None:
        """Forget all; know what the ledger says instead."""
        self.entries = {
            incident: Placed(partition, entry)
            for partition, entries in found.items()
            for incident, entry in entries.items()
        }
        pages: dict[str, tuple[float, str]] = {}
        for incident, placed in self.entries.items():
            entry = placed.entry
            if entry.paged_unix_seconds is not None:  # a storm's members were one page
                run = "" if entry.storm else entry.transition.run
                pages[entry.storm or incident] = (entry.paged_unix_seconds, run)
        self.gate.restore(pages.values())
        self.storms = Storms(self)

    def unfinished(self) -> list[tuple[list[str], Callable[[], Coroutine[Any, Any, None]]]]:
        """What was on its way when whoever wrote the ledger ended: which incidents, and what brings them there. The
        keys are the same as the first time.
        """
        found: list[tuple[list[str], Callable[[], Coroutine[Any, Any, None]]]] = []
        storms: dict[str, list[Placed]] = {}
        for incident, placed in self.entries.items():
            entry = placed.entry
            if entry.pending is None:
                continue
            self._count(Reason.RESUMED)
            if entry.storm is not None and entry.number > 0:
                storms.setdefault(entry.storm, []).append(placed)
            else:
                found.append(([incident], partial(self._send, placed, entry.pending)))
        for together in storms.values():
            members = [placed.entry.incident for placed in together]
            found.append((members, partial(self.storms.resume, together)))
        return found

    async def take(self, partition: int, offset: int, transition: Transition, written: float | None) -> None:
        """Deal with one transition; return when that is recorded. `written` is its record's time."""
        placed = self.entries.get(transition.incident)
        entry = None if placed is None else placed.entry
        now = self.office.clock()
        holding = self.office.actions.holding(transition, now)
        decision = decide(transition, entry, holding, self.office.routes.routed(transition, self.name, now))
        self._count(decision.reason)
        if decision.reason is Reason.REPEATED:
            return
        if entry is None:
            entry = Entry(receiver=self.name, transition=transition, offset=offset)
        following = Placed(partition, msgspec.structs.replace(entry, transition=transition, offset=offset))
        if decision.event is not None:
            await self._tell(following, decision.event, written)
        elif placed is not None or decision.reason in HELD_BACK:
            outcome = HELD_BACK.get(decision.reason, entry.outcome)
            if entry.severity is not None:  # what is told, and quiet now, stays told
                outcome = entry.outcome
            await self.record(_with(following, outcome=outcome))

    def due(self) -> list[str]:
        """The incidents of which something is to be told though no transition came."""
        now = self.office.clock()
        return [
            incident
            for incident, placed in self.entries.items()
            if self._again(placed.entry, now) is not None
        ]

    async def look_again(self, incident: str) -> None:
        """Tell what people, the hour or a receiver that is back have changed."""
        placed = self.entries.get(incident)
        decision = None if placed is None else self._again(placed.entry, self.office.clock())
        if placed is not None and decision is not None and decision.event is not None:
            self._count(decision.reason)
            await self._tell(placed, decision.event, None)

    async def refresh(self, busy: Container[str] = ()) -> None:
        """Tell again what is open, where the receiver wants that; not those of `busy` incidents.

        What comes of one of them meanwhile waits: said after its end, that it is open would open it again.
        """
        open_ = [
            placed.entry
            for incident, placed in self.entries.items()
            if incident not in busy
            and placed.entry.is_open
            and placed.entry.severity is not None
            and placed.entry.via is None
        ]
        if not open_:
            return
        deliveries = [compose.single(entry, Event.UPDATE, self.office.links) for entry in open_]
        self._refreshing, refreshed = {entry.incident for entry in open_}, self._refreshed
        try:
            await self.mailbox.receiver.refresh(deliveries)
            self.office.metrics.failing.labels(self.name).set(0)
        except Exception as error:  # the next time is a minute away
            self.office.metrics.failing.labels(self.name).set(1)
            why = (
                str(error) if isinstance(error, DeliveryError) else type(error).__name__
            )  # which shows no secret
            log.warning("receiver %s: what is open could not be told again: %s", self.name, why)
        finally:
            self._refreshing, self._refreshed = set(), asyncio.Event()
            refreshed.set()

    async def forget(self, committed: Mapping[int, int], busy: Container[str] = ()) -> None:
        """Drop the entries that nothing can ask for any more: over, and below the committed offset; or very old.

        Those of `busy` incidents stay.
        """
        now = self.office.clock()
        gone = [
            placed
            for incident, placed in self.entries.items()
            if incident not in busy
            and placed.entry.pending is None
            and (
                (self._is_closed(placed.entry) and placed.entry.offset < committed.get(placed.partition, 0))
                or now - _latest_word(placed.entry, now) > FORGET_SECONDS
            )
        ]
        for placed in gone:
            if self.entries.get(placed.entry.incident) is placed:  # else something came of it meanwhile
                await self.office.ledger.forget(placed.partition, self.name, placed.entry.incident)
                self.entries.pop(placed.entry.incident, None)

    async def record(self, placed: Placed) -> None:
        """Write the entry down, and only then know it."""
        self.office.check()
        await self.office.ledger.write(placed.partition, placed.entry)
        self.entries[placed.entry.incident] = placed

    def settled(
        self, placed: Placed, event: Event, by: str, receipt: str | None, written: float | None
    ) -> Placed:
        """The entry after `event` was acknowledged, `by` whom and with which receipt."""
        entry = placed.entry
        told = msgspec.structs.replace(
            entry,
            pending=None,
            outcome=Outcome.DELIVERED,
            severity=entry.transition.severity if event.wakes else entry.severity,
            receipt=receipt if receipt is not None else entry.receipt,
            via=None if by == self.name else by,
        )
        if event is Event.RESOLVE and entry.is_open:  # by hand: what comes after is another page
            told = msgspec.structs.replace(
                told,
                outcome=Outcome.RESOLVED_BY_HAND,
                severity=None,
                receipt=None,
                via=None,
                round=entry.round + 1,
            )
        if written is not None:
            self.office.metrics.seconds.observe(max(self.office.clock() - written, 0.0))
        return replace(placed, entry=told)

    async def _tell(self, placed: Placed, event: Event, written: float | None) -> None:
        now, entry = self.office.clock(), placed.entry
        stormy = entry.storm is not None and entry.severity is not None and not self.apart
        if event is Event.PAGE:
            placed = _with(placed, storm=None, number=0, receipt=None, via=None)
        if stormy and event is not Event.PAGE:
            await self.storms.change(placed, event, written)
            return
        if event.wakes:
            apart = self.apart and event is Event.ESCALATE
            if not apart and not self.gate.admits(entry.transition.run, now):
                await self.storms.gather(placed, event, written)
                return
            self.gate.note(entry.transition.run, now)
            placed = _with(placed, pending=event, number=0, paged_unix_seconds=now)
            await self.record(placed)
        await self._send(placed, event, written)

    async def _send(self, placed: Placed, event: Event, written: float | None = None) -> None:
        entry = placed.entry
        while entry.incident in self._refreshing:
            await self._refreshed.wait()
        began = entry.paged_unix_seconds if event.wakes and entry.paged_unix_seconds else self.office.clock()
        delivery = compose.single(
            entry, event, self.office.links, by=self._by(entry), picture=await self._picture(entry, event)
        )
        try:
            brought = await self.courier.bring(delivery, began, entry.via)
        except DeliveryError:
            await self.record(_with(placed, pending=None, outcome=Outcome.FAILED, paged_unix_seconds=began))
            return
        with brought:
            await self.record(self.settled(placed, event, brought.by, brought.receipt, written))

    async def _picture(self, entry: Entry, event: Event) -> bytes | None:
        if self.office.picture is None or not event.wakes or not self.mailbox.receiver.wants_picture:
            return None
        try:
            async with asyncio.timeout(PICTURE_SECONDS):
                return await self.office.picture(entry.transition)
        except Exception as error:  # a page without a picture is a page
            log.warning("no picture of incident %s: %r", entry.incident, error)
            return None

    def _again(self, entry: Entry, now: float) -> Decision | None:
        if entry.outcome is Outcome.FAILED:
            pause = max(TRY_AGAIN_SECONDS, self.mailbox.spec.deadline_seconds)
            if now - (entry.paged_unix_seconds or 0.0) < pause:
                return None
        holding = self.office.actions.holding(entry.transition, now)
        return decide_again(entry, holding, self.office.routes.routed(entry.transition, self.name, now))

    def _by(self, entry: Entry) -> str | None:
        """Who resolved it by hand."""
        if entry.transition.status is Status.RESOLVED:
            return None
        holding = self.office.actions.holding(entry.transition, self.office.clock())
        return next((one.who for one in holding if one.action in (Action.RESOLVE, Action.FALSE_ALARM)), None)

    def _is_closed(self, entry: Entry) -> bool:
        """Whether it is over, and if it is shown in a storm's page, that too."""
        return entry.is_over and (entry.storm is None or self.apart or self.storms.is_over(entry.storm))

    def _count(self, reason: Reason) -> None:
        self.office.metrics.decisions.labels(self.name, reason).inc()


def _with(placed: Placed, **changes: object) -> Placed:
    return replace(placed, entry=msgspec.structs.replace(placed.entry, **changes))


def _latest_word(entry: Entry, now: float) -> float:
    """When the incident was heard of last: a training host's clock may be far off, ours is not."""
    times = (entry.transition.updated_unix_seconds, entry.paged_unix_seconds)
    return max((at for at in times if at is not None), default=now)
