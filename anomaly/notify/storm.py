"""Beyond its limit a receiver gathers: what comes within ten seconds is one page that lists the runs.

What comes in the next minute joins that page, silently where nothing worse is among it. From then on the incidents in
it change together: one delivery in ten seconds at most, `resolve` once all are over. A delivery is written into the
ledger, with its number, before it is sent: after a crash the same goes out under the same key.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from anomaly.incidents.transition import Severity
from anomaly.notify import compose
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.notify.entry import Entry, Outcome
from anomaly.notify.gate import GATHER_SECONDS, WINDOW_SECONDS
from anomaly.notify.office import Placed

if TYPE_CHECKING:
    from anomaly.notify.desk import Desk

JOIN_SECONDS = WINDOW_SECONDS
"""How long after its first page others join a storm."""


@dataclass(slots=True)
class Waiting:
    """An incident that something is to be told of, and who waits for that."""

    placed: Placed
    event: Event
    written: float | None
    done: asyncio.Future[None]
    alone: Entry | None = None
    """The entry of an incident that had a page of its own."""


@dataclass(slots=True)
class Storm:
    """One page for many."""

    id: str
    began: float
    waiting: list[Waiting] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    at_once: asyncio.Event = field(default_factory=asyncio.Event)


class Storms:
    """One desk's storms."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._storms: dict[str, Storm] = {}
        self._latest: Storm | None = None
        self._ordinals = itertools.count()

    async def gather(self, placed: Placed, event: Event, written: float | None) -> None:
        """Page it together with others; return when that is recorded."""
        now = self._desk.office.clock()
        storm = self._latest
        if storm is None or not 0 <= now - storm.began < JOIN_SECONDS:
            storm = Storm(f"storm-{self._desk.name}-{int(now)}-{next(self._ordinals)}", now)
            self._latest = self._storms[storm.id] = storm
        self._desk.office.metrics.gathered.labels(self._desk.name).inc()
        joining = msgspec.structs.replace(placed.entry, receipt=None, via=None)
        alone = placed.entry if event is Event.ESCALATE else None
        await self._wait(storm, replace(placed, entry=joining), event, written, alone)

    async def change(self, placed: Placed, event: Event, written: float | None) -> None:
        """Tell a change of an incident that is in a storm, together with others; return when that is recorded."""
        assert placed.entry.storm is not None
        storm = self._storms.setdefault(placed.entry.storm, Storm(placed.entry.storm, 0.0))
        if event.wakes and self._desk.gate.admits("", self._desk.office.clock()):
            storm.at_once.set()
        await self._wait(storm, placed, event, written)

    async def resume(self, pending: Iterable[Placed]) -> None:
        """Deliver again what was on its way."""
        loop = asyncio.get_running_loop()
        by_storm: dict[str, list[Waiting]] = {}
        for placed in pending:
            entry = placed.entry
            assert entry.storm is not None
            assert entry.pending is not None
            alone = entry if entry.pending is Event.ESCALATE else None
            one = Waiting(placed, entry.pending, None, loop.create_future(), alone)
            by_storm.setdefault(entry.storm, []).append(one)
        await asyncio.gather(*(self._deliver(storm, waiting) for storm, waiting in by_storm.items()))

    async def stop(self) -> None:
        """Drop what is gathered: whoever waits for it is gone."""
        tasks = [storm.task for storm in self._storms.values() if storm.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_over(self, storm: str) -> bool:
        """Whether all of its incidents are."""
        return all(compose.is_over(entry) and entry.pending is None for entry in self._members(storm))

    async def _wait(
        self, storm: Storm, placed: Placed, event: Event, written: float | None, alone: Entry | None = None
    ) -> None:
        one = Waiting(placed, event, written, asyncio.get_running_loop().create_future(), alone)
        storm.waiting.append(one)
        if storm.task is None:
            storm.task = asyncio.create_task(self._flush(storm))
        await one.done

    async def _flush(self, storm: Storm) -> None:
        """Gather, write down, deliver, until nothing waits. An error is that of everyone who waits."""
        waiting: list[Waiting] = []
        try:
            while storm.waiting:
                await self._gather_some(storm)
                waiting, storm.waiting = storm.waiting, []
                await self._deliver(storm.id, await self._written_down(storm.id, waiting))
        except Exception as error:
            for one in (*waiting, *storm.waiting):
                if not one.done.done():
                    one.done.set_exception(error)
        finally:
            storm.task = None

    async def _gather_some(self, storm: Storm) -> None:
        ends = asyncio.ensure_future(self._desk.office.sleep(GATHER_SECONDS))
        hurry = asyncio.ensure_future(storm.at_once.wait())
        try:
            await asyncio.wait((ends, hurry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ends.cancel()
            hurry.cancel()
        storm.at_once.clear()

    async def _written_down(self, storm: str, waiting: list[Waiting]) -> list[Waiting]:
        """The same, each with what is about to be told of it in the ledger."""
        now = self._desk.office.clock()
        number = 1 + max((entry.number for entry in self._members(storm)), default=0)
        for one in waiting:
            changes: dict[str, object] = {"pending": one.event, "storm": storm, "number": number}
            if one.event.wakes:
                changes["paged_unix_seconds"] = now
            entry = msgspec.structs.replace(one.placed.entry, **changes)
            one.placed = replace(one.placed, entry=entry)
        await asyncio.gather(*(self._desk.record(one.placed) for one in waiting))
        return waiting

    async def _deliver(self, storm: str, waiting: list[Waiting]) -> None:
        """One delivery for all of them; what was written down says which, so that a second time is the same."""
        desk, members = self._desk, self._members(storm)
        number = waiting[0].placed.entry.number
        before = compose.highest(members)
        event = Event.PAGE if desk.apart or number == 1 else _event(before, members, waiting)
        now = desk.office.clock()
        if event.wakes:
            desk.gate.note("", now)
        if number == 1:
            desk.office.metrics.storms.labels(desk.name).inc()
        shown = [one.placed.entry for one in waiting] if desk.apart else members
        receipt = next((entry.receipt for entry in members if entry.receipt is not None), None)
        via = next((entry.via for entry in members if entry.via is not None), None)
        delivery = compose.gathered(
            storm, number, event, shown, desk.office.links,
            before=None if event is Event.PAGE else before, receipt=receipt,
        )  # fmt: skip
        try:
            brought = await desk.courier.bring(delivery, now, via)
        except DeliveryError:
            await asyncio.gather(*(desk.record(_failed(one)) for one in waiting))
        else:
            with brought:
                kept = None if desk.apart else brought.receipt or receipt
                settled = [
                    desk.settled(one.placed, one.event, brought.by, kept, one.written) for one in waiting
                ]
                await self._end_single_pages(waiting)
                await asyncio.gather(*(desk.record(placed) for placed in settled))
        for one in waiting:
            if not one.done.done():
                one.done.set_result(None)

    async def _end_single_pages(self, waiting: list[Waiting]) -> None:
        """An incident that had a page of its own and rises in a storm must not stay open there: the storm has it now.

        Ending one that never was does no harm. Nobody is woken by it, so it is tried for a moment only.
        """
        began = self._desk.office.clock() - self._desk.mailbox.spec.deadline_seconds  # one attempt
        ends = (
            compose.single(one.alone, Event.RESOLVE, self._desk.office.links, by="a page for many")
            for one in waiting
            if one.alone is not None
        )

        async def end(delivery: Delivery) -> None:
            with contextlib.suppress(DeliveryError), await self._desk.courier.bring(delivery, began):
                pass

        await asyncio.gather(*(end(delivery) for delivery in ends))

    def _members(self, storm: str) -> list[Entry]:
        entries = (placed.entry for placed in self._desk.entries.values())
        return [entry for entry in entries if entry.storm == storm]


def _event(before: Severity | None, members: list[Entry], waiting: list[Waiting]) -> Event:
    """What a later delivery of a storm is: it wakes where something rises, or something worse joins."""
    wakes = [one for one in waiting if one.event.wakes]
    highest = max((one.placed.entry.transition.severity.rank for one in wakes), default=-1)
    if any(one.event is Event.ESCALATE for one in wakes) or highest > (-1 if before is None else before.rank):
        return Event.ESCALATE
    return Event.RESOLVE if all(compose.is_over(entry) for entry in members) else Event.UPDATE


def _failed(one: Waiting) -> Placed:
    """Nobody took it. A page is tried again, alone or with others that wait by then."""
    changes: dict[str, object] = {"pending": None, "outcome": Outcome.FAILED}
    if one.event is Event.PAGE:
        changes |= {"storm": None, "number": 0}
    return replace(one.placed, entry=msgspec.structs.replace(one.placed.entry, **changes))
