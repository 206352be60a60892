"""What one receiver is told when it fails, hangs or asks to be left alone, and who stands in for it."""

from __future__ import annotations

import asyncio

import pytest

from anomaly.notify.delivery import Delivery, DeliveryError
from tests.notify.desk_logs import CRITICAL, end, key, one, play, refuses
from tests.notify.desks import RecordingReceiver, Scene, calm


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
