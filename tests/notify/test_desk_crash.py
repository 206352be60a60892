"""What one receiver is told by a process that is killed at any write, and by the one that goes on."""

from __future__ import annotations

import asyncio

from anomaly.incidents.transition import Status, Transition
from anomaly.notify.delivery import Delivery, Event
from tests.notify.desk_logs import CRITICAL, end, one
from tests.notify.desks import KilledError, RecordingReceiver, Scene

LOG = (
    one(1),
    one(2),
    one(2, 1, CRITICAL),
    *(one(number) for number in range(3, 11)),
    end(1),
    end(2, 2, CRITICAL),
    end(9),
)


def crashed(at: int) -> tuple[list[Delivery], int]:
    """Play `LOG` with the process killed before its `at`-th write, go on as a new one; what was told, and writes."""
    receiver = RecordingReceiver("a")

    async def scene() -> int:
        stage = Scene(receiver)

        def before(write: int) -> None:
            if write >= at:
                raise KilledError

        stage.ledger.before = before
        killed = await _through(stage)
        writes = stage.ledger.writes
        if killed:
            stage.ledger.before = lambda _: None
            stage.again()
            for _, work in stage.desk.unfinished():
                task = asyncio.create_task(work())
                await stage.clock.advance(11)
                task.result()
            assert not await _through(stage)
        return writes

    return receiver.told, asyncio.run(scene())


async def _through(stage: Scene) -> bool:
    """The log in order, each incident's transitions one after the other; whether the process was killed."""
    queues: dict[str, list[tuple[int, Transition]]] = {}
    for offset, each in enumerate(LOG):
        queues.setdefault(each.incident, []).append((offset, each))

    async def work_off(queue: list[tuple[int, Transition]]) -> None:
        for offset, each in queue:
            await stage.desk.take(0, offset, each, None)

    async def kept(queue: list[tuple[int, Transition]]) -> bool:
        try:
            await work_off(queue)
        except KilledError:
            return True
        return False

    tasks = [asyncio.create_task(kept(queue)) for queue in queues.values()]
    for _ in range(4):
        await stage.clock.advance(11)
    killed = any(task.result() for task in tasks if task.done()) or not all(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await stage.desk.storms.stop()
    return killed


def test_a_crash_before_any_write_loses_nothing_and_repeats_only_under_the_same_key() -> None:
    whole, writes = crashed(10_000)
    assert len({each.key for each in whole}) == len(whole)
    assert writes > 20
    for at in range(1, writes + 1):
        told, _ = crashed(at)
        by_key: dict[str, list[Delivery]] = {}
        for each in told:
            by_key.setdefault(each.key, []).append(each)
        for name, same in by_key.items():
            assert len({(one.event, one.dedup) for one in same}) == 1, (at, name)
        incidents = {one.incident for each in told if each.event is Event.PAGE for one in each.transitions}
        assert incidents == {each.incident for each in LOG}, at
        pages = [
            one for each in by_key.values() if each[0].event is Event.PAGE for one in each[0].transitions
        ]
        twice = [one for one in pages if (one.incident, one.transition) != (LOG[2].incident, 1)]  # it rose
        assert len(twice) == len({one.incident for one in twice}), (at, "paged under two keys")
        ended = {one.incident for each in told for one in each.transitions if one.status is Status.RESOLVED}
        assert ended == {each.incident for each in LOG if each.status is Status.RESOLVED}, at
