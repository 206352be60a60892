"""What one receiver is told after people muted, acknowledged or resolved, within hours and after long silence."""

from __future__ import annotations

from anomaly.incidents.actions import Action
from anomaly.incidents.transition import Status
from anomaly.notify.delivery import Event
from anomaly.settings_routes import RouteSpec
from tests.notify.desk_logs import CRITICAL, act, end, key, one, play
from tests.notify.desks import RecordingReceiver, Scene


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
