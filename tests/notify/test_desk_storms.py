"""What one receiver is told in a storm, and of one run that is sick in many ways."""

from __future__ import annotations

import asyncio

from anomaly.incidents.actions import Action
from anomaly.incidents.transition import Status
from anomaly.notify.delivery import Event
from tests.notify.desk_logs import CRITICAL, WARNING, act, end, key, one, play
from tests.notify.desks import RecordingReceiver, Scene, calm
from tests.notify.pages import silent_runs


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
