"""Notifiers that are killed, stand still or take over: nothing is lost, and only what was on its way is repeated."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from anomaly.exit_codes import ExitCode
from tests.kafka_servers import ApacheKafka
from tests.notify.campaign import Shaky, scene
from tests.notify.notifiers import decided, nothing_left, ready
from tests.notify.recording_server import recording
from tests.notify.stage import Stage, incident, keys, over, play, repeats, told, until, webhook

pytestmark = pytest.mark.kafka("apache")


def test_of_two_notifiers_one_follows_and_the_other_takes_over_without_a_gap_or_a_repeat(
    stage: Stage,
) -> None:
    async def whole() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server, pages_per_minute=1000))
            with stage.notifier() as first:
                await ready(first)
                await stage.publish(*(incident(number) for number in range(5)))
                await until("pages came", lambda: len(server.requests) == 5)
                with stage.notifier() as second:
                    await ready(second)
                    await stage.publish(*(incident(number) for number in range(5, 10)))
                    await until("more pages came", lambda: len(server.requests) == 10)
                    assert "stands by" in second.text
                    first.terminate()
                    await stage.publish(*(over(number) for number in range(10)))
                    await until("all ends came", lambda: len(server.requests) >= 20)
                    assert decided(second, "resolved") == 10
            assert repeats(keys(server)) == []

    play(stage, whole)


def test_a_notifier_that_stood_still_for_a_session_ends_and_the_other_goes_on(stage: Stage) -> None:
    async def whole() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server, pages_per_minute=1000))
            with stage.notifier(supervised=False) as first, stage.notifier() as second:
                await ready(first, second)
                await until("one follows", lambda: "stands by" in first.text + second.text)
                owner, other = (second, first) if "stands by" in first.text else (first, second)
                owner.send_signal(signal.SIGSTOP)
                await stage.publish(*(incident(number) for number in range(10)))
                await until("all pages came", lambda: len(set(keys(server))) == 10)
                assert decided(other, "paged") == 10
                owner.send_signal(signal.SIGCONT)
                if owner is first:
                    assert await asyncio.to_thread(owner.wait) == ExitCode.LEASE_LOST
                else:
                    await until("it ends", lambda: owner.exit_codes == [ExitCode.LEASE_LOST])
            assert repeats(keys(server)) == []

    play(stage, whole)


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_drawn_moments_lose_nothing_and_repeat_only_what_was_on_its_way(
    seed: int, available_apache_kafka: None, tmp_path: Path
) -> None:
    with ApacheKafka() as broker:
        stage = Stage(broker.bootstrap_servers, f"seed-{seed}", tmp_path)

        async def whole() -> None:
            try:
                verdicts = await scene(stage, seed, 25, 2, broker if seed % 2 else None)
            finally:
                await stage.close()
            for name, verdict in verdicts.items():
                print(f"{name}: {verdict}")
                assert not verdict.lost, name
                assert not verdict.doubled, name
                assert not verdict.disordered, name

        asyncio.run(whole())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_through_kills_pages_every_run_under_one_key(seed: int, stage: Stage) -> None:
    async def whole() -> None:
        draw, receiver = random.Random(seed), Shaky(random.Random(seed))
        async with recording(receiver) as server:
            stage.configure(webhook("hook", server))
            with stage.notifier() as notifier:
                await ready(notifier)
                await stage.publish_many([incident(number) for number in range(60)])
                for _ in range(3):
                    sent = receiver.requests
                    await until(
                        "something is sent or nothing is left",
                        lambda before=sent: receiver.requests > before or nothing_left(notifier),  # type: ignore[misc]
                    )
                    await asyncio.sleep(draw.uniform(0.0, 0.3))
                    notifier.kill()
                    await until("it has ended", lambda: not nothing_left(notifier))
                receiver.trouble = False
                await until("nothing is left", lambda: nothing_left(notifier), 120)
        pages: dict[str, set[str]] = {}
        for one in told(server):
            if one["type"] != "incident.resolve" and one["id"] in {each.key for each in receiver.accepted}:
                for each in one["data"]["transitions"]:
                    pages.setdefault(each["incident"], set()).add(one["data"]["dedup"])
        assert len(pages) == 60
        assert {name: found for name, found in pages.items() if len(found) != 1} == {}
        assert len({dedup for found in pages.values() for dedup in found}) <= 7

    play(stage, whole)


def test_a_kill_after_the_answer_and_before_it_is_written_down_repeats_the_same_key(stage: Stage) -> None:
    """The kill comes from within the answer, so that the window is hit for sure."""

    async def whole() -> None:
        receiver = Shaky(random.Random(1), trouble=False)
        async with recording(receiver) as server:
            stage.configure(webhook("hook", server))
            with stage.notifier() as notifier:
                await ready(notifier)

                async def killing(request: object) -> object:
                    answer = await receiver(request)  # type: ignore[arg-type]
                    notifier.kill()
                    return answer

                server.answers.append(killing)  # type: ignore[arg-type]
                await stage.publish(incident(1))
                await until("it came again", lambda: len(server.requests) == 2)
                assert keys(server) == [f"{1:016x}-0"] * 2
                await until("it is counted", lambda: decided(notifier, "resumed") == 1)

    play(stage, whole)
