"""The notifier as a process, on a real broker, in front of recording servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from anomaly.incidents.actions import Action, Match
from anomaly.incidents.transition import Severity
from tests.notify.notifiers import decided, ready, scrape
from tests.notify.pages import silent_runs
from tests.notify.recording_server import RecordingServer, recording, says
from tests.notify.stage import Stage, incident, keys, over, play, told, until, webhook

pytestmark = pytest.mark.kafka("apache")

CRITICAL = Severity.CRITICAL


def test_an_incident_is_paged_updated_escalated_and_resolved_once_each(stage: Stage) -> None:
    async def whole() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server))
            await stage.publish(
                incident(9), over(9)
            )  # before there was a notifier: nobody is to be woken by it
            with stage.notifier() as notifier:
                await ready(notifier)
                await stage.publish(incident(1))
                await until("the page came", lambda: len(server.requests) == 1)
                for poison in (b"no transition", b"null", b"[]", *poisoned()):
                    await stage.publish_raw(poison)
                await stage.publish(
                    incident(1), incident(1, 1), incident(1, 2, severity=CRITICAL), over(1, 3)
                )
                await until("its end came", lambda: len(server.requests) == 4)
                names = [one["type"] for one in told(server)]
                assert names == ["incident.page", "incident.update", "incident.escalate", "incident.resolve"]
                assert keys(server) == [f"{1:016x}-{number}" for number in range(4)]
                assert told(server)[2]["data"]["severity_before"] == "warning"
                await until("the rest is decided", lambda: decided(notifier, "unreadable") == 6)
                assert decided(notifier, "repeated") == 1
                counts = notifier.metrics()
                assert counts['anomaly_notify_deliveries_total{outcome="delivered",receiver="hook"}'] == 4
                assert counts["anomaly_notify_delivery_seconds_count"] == 4
                assert notifier.terminate() < 10
            assert notifier.exit_codes == [0]
            with stage.notifier() as notifier:
                await ready(notifier)
                await until("nothing is left", lambda: 'lag_records{receiver="hook"} 0' in scrape(notifier))
                await stage.publish(incident(2))
                await until("the next page came", lambda: len(server.requests) == 5)
            assert keys(server)[4] == f"{2:016x}-0"
            assert (f"hook\x00{1:016x}".encode(), None) in await stage.ledger()  # over, and forgotten

    play(stage, whole)


def poisoned() -> list[bytes]:
    """Transitions that nobody can encode again, that are none, or that are too large."""
    sound = incident(5).encode()
    return [
        sound.replace(b'"run":"run-5"', b'"run":"\\ud800"'),
        sound.replace(b'"evidence":[', b'"evidence":[7,'),
        sound.replace(b'"summary":"', b'"summary":"' + b"x" * 600_000),
    ]


def test_what_people_do_is_respected_as_it_comes(stage: Stage) -> None:
    async def whole() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server))
            await stage.act(action=Action.MUTE, match=Match(run="run-1?"), until=time.time() + 3600)
            with stage.notifier() as notifier:
                await ready(notifier)
                await stage.publish(incident(10), incident(1))
                await until("a page came", lambda: len(server.requests) == 1)
                await until("one is muted", lambda: decided(notifier, "muted") == 1)
                await stage.act(action=Action.RESOLVE, incident=f"{1:016x}")
                await until("its end came", lambda: keys(server)[-1] == f"{1:016x}-0-by-hand")
                await stage.publish(incident(1, 1), incident(10, 1, severity=CRITICAL))
                await until("it is critical", lambda: keys(server)[-1] == f"{10:016x}-1")
                await until("one is quiet", lambda: decided(notifier, "resolved_by_hand") == 2)
            assert keys(server) == [f"{1:016x}-0", f"{1:016x}-0-by-hand", f"{10:016x}-1"]

    play(stage, whole)


def test_a_storm_of_400_runs_is_six_pages_at_one_receiver_and_another_is_not_held_up(stage: Stage) -> None:
    async def whole() -> None:
        async with recording() as server, recording(says(503)) as down:
            routes = '[[routes]]\nreceivers = ["hook", "down"]\n'
            stage.configure(webhook("hook", server), webhook("down", down), routes)
            with stage.notifier() as notifier:
                await ready(notifier)
                began = time.time()
                await stage.publish_many(silent_runs(400))
                print(f"400 transitions written in {time.time() - began:.1f} s")
                await until(
                    "every run is in a page",
                    lambda: [one["data"]["incidents"] for one in told(server)][-1:] == [395],
                )
                pages = [one["data"] for one in told(server) if one["type"] == "incident.page"]
                assert [page["incidents"] for page in pages[:5]] == [1] * 5
                assert (
                    len(runs_told(server)) == 305
                )  # the webhook's payload names 300 at most, and counts all
                (storm,) = pages[5:]  # one that lists the others; what came late joined it without a page
                assert {one["data"]["dedup"] for one in told(server)[5:]} == {storm["storm"]}
                await until(
                    "all is written down", lambda: 'lag_records{receiver="hook"} 0' in scrape(notifier)
                )
                assert len(keys(server, "page")) == 6
                assert notifier.metrics()['anomaly_notify_failing{receiver="down"}'] == 1

    play(stage, whole)


def runs_told(server: RecordingServer) -> set[str]:
    return {each["run"] for one in told(server) for each in one["data"]["transitions"]}


def test_what_a_receiver_does_not_take_in_time_goes_to_its_fallback(stage: Stage) -> None:
    async def whole() -> None:
        async with recording() as server, recording(says(500)) as down:
            routes = '[[routes]]\nreceivers = ["down"]\n'
            stage.configure(
                webhook("down", down, fallback="hook", deadline_seconds=2), webhook("hook", server), routes
            )
            with stage.notifier() as notifier:
                await ready(notifier)
                await stage.publish(incident(1), over(1))
                await until("its end came", lambda: len(server.requests) == 2)
                assert [one["type"] for one in told(server)] == ["incident.page", "incident.resolve"]
                assert len(down.requests) >= 2
                counts = notifier.metrics()
                assert counts['anomaly_notify_deliveries_total{outcome="fallback",receiver="down"}'] == 2

    play(stage, whole)


def test_a_page_on_trial_says_what_came_back(stage: Stage) -> None:
    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "anomaly",
            "notify",
            "--config",
            str(stage.folder / "anomaly.toml"),
            *flags,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    async def whole() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server))
            took = await asyncio.to_thread(run, "--test", "hook")
            assert (took.returncode, told(server)[0]["type"]) == (0, "incident.test")
            assert "receiver hook took the test page test-hook-" in took.stderr
            server.answers.append(says(403, "no such key"))
            refused = await asyncio.to_thread(run, "--test", "hook")
            assert refused.returncode == 2
            assert "did not take the test page: POST http://localhost" in refused.stderr
            assert "no such key" in refused.stderr
            unknown = await asyncio.to_thread(run, "--test", "hok")
            assert (unknown.returncode, "did you mean hook?" in unknown.stderr) == (2, True)
            stage.configure()
            nobody = await asyncio.to_thread(run)
            assert nobody.returncode == 2
            assert "receivers: there is none; give a [[receivers]] table" in nobody.stderr

    asyncio.run(whole())
