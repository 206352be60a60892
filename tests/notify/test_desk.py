"""What one receiver is told: storms, retries, fallbacks, what people do, and a crash at every point."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from anomaly.incidents.actions import Action, IncidentAction, Match
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.settings_routes import RouteSpec
from tests.notify.desks import KilledError, RecordingReceiver, Scene, calm
from tests.notify.pages import nan_gradient, silent_runs

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def one(number: int, transition: int = 0, severity: Severity = WARNING, **changes: object) -> Transition:
    fields: dict[str, object] = {
        "incident": f"{number:016x}", "run": f"run-{number}", "transition": transition, "severity": severity,
        "status": Status.UPDATED if transition else Status.OPENED,
    }  # fmt: skip
    return nan_gradient(**(fields | changes))


def end(number: int, transition: int = 1, severity: Severity = WARNING) -> Transition:
    return one(number, transition, severity, status=Status.RESOLVED)


def key(number: int, transition: int = 0) -> str:
    return f"{number:016x}-{transition}"


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def refuses(count: int | None = None, **more: Any) -> Callable[[Delivery], None]:
    """An answer that fails so many times (None: always)."""
    left = [count]

    def answer(delivery: Delivery) -> None:
        if left[0] is not None:
            if left[0] == 0:
                return
            left[0] -= 1
        raise DeliveryError("POST http://x: got 503", **({"retriable": True} | more))

    return answer


def act(
    scene: Scene, action: Action, incident: int | None = None, until: float | None = None, **match: str
) -> None:
    named = None if incident is None else f"{incident:016x}"
    scene.book.take(
        IncidentAction(
            action=action, who="ana", why="known", unix_seconds=scene.clock.now, incident=named, until=until,
            match=Match(**match) if match else None,
        )
    )  # fmt: skip


def test_a_storm_of_400_runs_is_five_single_pages_and_one_that_lists_the_runs() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(*silent_runs(400))
        assert [each.event for each in receiver.told] == [Event.PAGE] * 5
        await stage.clock.advance(10)
        assert len(receiver.told) == 6
        storm = receiver.told[5]
        assert (storm.event, len(storm.transitions)) == (Event.PAGE, 395)
        assert storm.dedup == storm.storm
        assert storm.page.title.startswith("[critical] 395 incidents in 395 runs")
        await stage.clock.advance(120)
        await stage.end()
        assert len(receiver.told) == 6
        assert stage.metric("anomaly_notify_gathered_total") == 395
        assert stage.metric("anomaly_notify_storms_total") == 1

    play(scene)


def test_below_the_limit_nothing_waits() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        for number in range(20):
            await stage.take(one(number))
            assert len(receiver.told) == number + 1
            await stage.clock.advance(12.1)
        await stage.end()

    play(scene)


def test_runs_that_follow_join_the_storms_page_silently_until_something_worse_comes() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(*(one(number) for number in range(10)))
        await stage.clock.advance(11)
        await stage.take(*(one(number) for number in range(10, 15)))
        await stage.clock.advance(11)
        assert [each.event for each in receiver.told[5:]] == [Event.PAGE, Event.UPDATE]
        assert len(receiver.told[6].transitions) == 10
        await stage.take(one(15, severity=CRITICAL))
        await stage.clock.advance(11)
        last = receiver.told[7]
        assert (last.event, last.before, len(last.transitions)) == (Event.ESCALATE, WARNING, 11)
        assert len({each.key for each in receiver.told}) == 8
        assert {each.dedup for each in receiver.told[5:]} == {receiver.told[5].storm}
        assert last.receipt == f"receipt of {last.dedup}"
        await stage.end()

    play(scene)


def test_a_storm_is_resolved_once_all_in_it_are_and_what_is_over_is_told_together() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(*(one(number) for number in range(9)))
        await stage.clock.advance(11)
        await stage.take(end(5), end(6))
        await stage.clock.advance(11)
        assert receiver.told[-1].event is Event.UPDATE
        assert [each.status for each in receiver.told[-1].transitions].count(Status.RESOLVED) == 2
        await stage.desk.forget({0: 1000})
        assert len(stage.desk.entries) == 9  # it is still shown
        act(stage, Action.RESOLVE, 7)
        await stage.look_again()
        await stage.take(end(8))
        await stage.clock.advance(11)
        assert [each.event for each in receiver.told[7:]] == [Event.RESOLVE]
        await stage.take(end(7))
        await stage.desk.forget({0: 1000})
        assert len(stage.desk.entries) == 5
        assert len(receiver.told) == 8
        await stage.end()

    play(scene)


def test_a_rise_in_a_storm_wakes_at_once_when_little_else_does() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(*(one(number) for number in range(9)))
        await stage.clock.advance(200)
        await stage.take(one(7, 1, CRITICAL))
        assert receiver.told[-1].event is Event.ESCALATE
        assert receiver.told[-1].dedup == receiver.told[5].storm
        await stage.end()

    play(scene)


def test_rises_beyond_the_limit_are_one_page_and_their_own_pages_end() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        for number in range(12):
            await stage.take(one(number))
            await stage.clock.advance(13)
        assert len(receiver.told) == 12
        await stage.clock.advance(60)
        await stage.take(*(one(number, 1, CRITICAL) for number in range(12)))
        await stage.clock.advance(11)
        events = [each.event for each in receiver.told[12:]]
        assert events[:5] == [Event.ESCALATE] * 5
        assert events[5] is Event.PAGE
        assert len(receiver.told[17].transitions) == 7
        assert events[6:] == [Event.RESOLVE] * 7
        await stage.take(*(end(number, 2, CRITICAL) for number in range(12)))
        await stage.clock.advance(11)
        assert [each.event for each in receiver.told[25:]] == [Event.RESOLVE] * 6
        await stage.end()

    play(scene)


def test_what_keeps_incidents_apart_gets_each_as_its_own_after_the_storms_page() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a", refresh_seconds=60.0)
        stage = Scene(receiver)
        await stage.take(*(one(number) for number in range(8)))
        await stage.clock.advance(11)
        assert (receiver.told[5].event, len(receiver.told[5].transitions)) == (Event.PAGE, 3)
        await stage.take(one(6, 1, CRITICAL))
        await stage.take(end(7))
        rise, over = receiver.told[6:]
        assert (rise.event, rise.key, rise.before, rise.storm) == (
            Event.ESCALATE,
            key(6, 1),
            WARNING,
            receiver.told[5].storm,
        )
        assert (over.event, over.key, over.storm) == (Event.RESOLVE, key(7, 1), receiver.told[5].storm)
        await stage.desk.refresh()
        assert [each.dedup for each in receiver.refreshed[0]] == [f"{number:016x}" for number in range(7)]
        await stage.end()

    play(scene)


def test_an_end_waits_for_what_is_told_again_meanwhile_and_a_page_does_not() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a", refresh_seconds=60.0)
        stage = Scene(receiver)
        await stage.take(one(1), one(2))
        receiver.hangs = asyncio.Event()
        telling = stage.start(stage.desk.refresh({one(2).incident}))
        await calm()
        await stage.take(end(1), end(2), one(3))
        assert sorted(each.key for each in receiver.told[2:]) == [key(2, 1), key(3)]
        receiver.hangs.set()
        await calm()
        assert telling.done()
        assert [each.dedup for each in receiver.refreshed[0]] == [one(1).incident]
        assert receiver.told[-1].key == key(1, 1)
        await stage.end()

    play(scene)


def test_one_run_that_is_sick_in_many_ways_is_three_pages_and_one_that_lists_the_rest() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(*(one(number, run="sick") for number in range(6)), one(9))
        assert [each.key for each in receiver.told] == [key(0), key(1), key(2), key(9)]
        await stage.clock.advance(11)
        assert len(receiver.told[4].transitions) == 3
        await stage.end()

    play(scene)


def test_failures_are_tried_again_under_the_same_key_and_later_ones_wait_their_turn() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        receiver.answer = refuses(3)
        task = stage.start(stage.desk.take(0, 0, one(1), None))
        await stage.clock.advance(0.1)
        assert receiver.told == []
        assert stage.metric("anomaly_notify_failing") == 1
        await stage.clock.advance(10)
        assert task.done()
        assert receiver.events() == [("page", key(1))]
        assert stage.metric("anomaly_notify_retries_total") == 3
        assert stage.metric("anomaly_notify_failing") == 0
        await stage.end()

    play(scene)


def test_as_long_as_it_asks_for_a_receiver_is_left_alone_by_all() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        asked: list[float] = []

        def answer(delivery: Delivery) -> None:
            asked.append(stage.clock.now)
            if len(asked) == 1:
                raise DeliveryError("got 429", retriable=True, retry_after_seconds=20.0)

        receiver.answer = answer
        await stage.take(one(1))
        await stage.take(one(2))
        await stage.clock.advance(19)
        assert len(asked) == 1
        await stage.clock.advance(2)
        assert len(receiver.told) == 2
        await stage.end()

    play(scene)


@pytest.mark.parametrize("retriable", [True, False])
def test_what_nobody_takes_in_time_goes_to_the_fallback_which_then_hears_the_rest(retriable: bool) -> None:
    async def scene() -> None:
        receiver, stand_in = RecordingReceiver("a"), RecordingReceiver("b")
        stage = Scene(receiver, stand_in, deadline_seconds=30.0)
        receiver.answer = refuses(retriable=retriable)
        await stage.take(one(1))
        await stage.clock.advance(31 if retriable else 0)
        assert stand_in.events() == [("page", key(1))]
        assert stage.metric("anomaly_notify_deliveries_total", outcome="fallback") == 1
        receiver.answer = lambda _: None
        await stage.take(one(1, 1, CRITICAL), end(1, 2, CRITICAL))
        stage.again()
        await stage.take(end(1, 2, CRITICAL))
        assert stand_in.events() == [("page", key(1)), ("escalate", key(1, 1)), ("resolve", key(1, 2))]
        assert receiver.told == []
        await stage.end()

    play(scene)


def test_a_page_that_nobody_takes_at_all_is_counted_and_tried_again_while_it_matters() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver, deadline_seconds=30.0)
        receiver.answer = refuses()
        await stage.take(one(1), one(2))
        await stage.clock.advance(31)
        assert stage.metric("anomaly_notify_deliveries_total", outcome="failed") == 2
        await stage.look_again()
        assert receiver.told == []
        await stage.take(end(2))
        receiver.answer = lambda _: None
        await stage.clock.advance(61)
        stage.again()
        await stage.look_again()
        assert receiver.events() == [("page", key(1))]
        await stage.end()

    play(scene)


def test_an_error_of_a_receivers_own_is_a_failure_like_others_and_shows_no_secret() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        times = [0]

        def answer(delivery: Delivery) -> None:
            times[0] += 1
            if times[0] == 1:
                raise KeyError("hunter2")

        receiver.answer = answer
        await stage.take(one(1))
        await stage.clock.advance(5)
        assert receiver.events() == [("page", key(1))]
        await stage.end()

    play(scene)


def test_a_page_that_hangs_on_updates_does_not_wait_for_them() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        for number in range(10):
            await stage.take(one(number))
            await stage.clock.advance(13)
        never = asyncio.Event()
        deliver = receiver.deliver

        async def hanging(delivery: Delivery) -> str | None:
            if not delivery.event.wakes:
                await never.wait()
            return await deliver(delivery)

        receiver.deliver = hanging  # type: ignore[method-assign]
        await stage.take(*(one(number, 1) for number in range(10)))
        await stage.take(one(99))
        assert receiver.told[-1].key == key(99)
        await stage.end()

    play(scene)


def test_while_nothing_can_be_written_down_only_a_handful_is_told() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver, pages_per_minute=1000)
        await stage.take(*(one(number) for number in range(40)))
        stage.ledger.away = asyncio.Event()
        await stage.take(*(end(number) for number in range(40)), *(one(number) for number in range(40, 80)))
        assert len(receiver.told) == 40 + 4  # no page at all: it is written down first
        stage.ledger.away.set()
        await calm()
        assert len(receiver.told) == 120
        await stage.end()

    play(scene)


def test_a_page_that_cannot_be_written_as_it_should_be_is_a_plain_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        odd = one(1, statistic=None)  # as a later version might have it, past every check
        await stage.take(odd)
        (page,) = receiver.told
        assert page.page.title.startswith("[warning] run-1: ")
        await stage.end()

    play(scene)


def test_muted_incidents_page_when_they_become_critical_or_the_mute_is_over() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        act(stage, Action.MUTE, until=stage.clock.now + 600, run="run-*")
        await stage.take(one(1), one(2), one(3))
        assert receiver.told == []
        await stage.take(one(2, 1, CRITICAL))
        assert receiver.events() == [("page", key(2, 1))]
        await stage.take(end(3))
        await stage.clock.advance(599)
        await stage.look_again()
        assert len(receiver.told) == 1
        await stage.clock.advance(2)
        stage.again()
        await stage.look_again()
        assert receiver.events()[1:] == [("page", key(1))]
        await stage.end()

    play(scene)


def test_a_resolution_by_hand_is_told_once_and_taken_back_is_another_page() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(one(1))
        act(stage, Action.FALSE_ALARM, 1)
        await stage.look_again()
        await stage.look_again()
        assert receiver.events()[1:] == [("resolve", f"{key(1)}-by-hand")]
        assert receiver.told[1].transitions[0].status is Status.RESOLVED
        assert ("now", "resolved by ana") in receiver.told[1].page.facts
        await stage.take(one(1, 1))
        assert len(receiver.told) == 2
        act(stage, Action.WITHDRAW, 1)
        stage.again()
        await stage.look_again()
        assert receiver.events()[2:] == [("page", f"{key(1, 1)}-round1")]
        await stage.take(end(1, 2))
        assert receiver.told[-1].event is Event.RESOLVE
        assert len({each.key for each in receiver.told}) == 4
        await stage.end()

    play(scene)


def test_outside_its_hours_a_route_waits_for_them() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        # START is Monday, 21 September 2026, 14:13 UTC.
        stage = Scene(receiver, routes=[RouteSpec(receivers=("a",), hours="Mon-Fri 16:00-18:00 UTC")])
        await stage.take(one(1), one(2))
        await stage.take(end(2))
        await stage.look_again()
        assert receiver.told == []
        await stage.clock.advance(2 * 3600)
        await stage.look_again()
        assert receiver.events() == [("page", key(1))]
        await stage.end()

    play(scene)


def test_an_incident_that_nothing_is_heard_of_for_two_weeks_is_forgotten() -> None:
    async def scene() -> None:
        receiver = RecordingReceiver("a")
        stage = Scene(receiver)
        await stage.take(one(1))
        stage.clock.now += 13 * 86_400
        await stage.desk.forget({0: 5})
        assert stage.desk.entries
        stage.clock.now += 2 * 86_400
        await stage.desk.forget({0: 5})
        assert not stage.desk.entries
        assert not stage.ledger.records
        await stage.end()

    play(scene)


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
    wanted = {(each.dedup if each.storm is None else "storm", str(each.event)) for each in whole}
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
    assert wanted
