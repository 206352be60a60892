"""Alertmanagers that refuse, or of which one is down: servers that fail where a real one would have to be made to."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from pathlib import Path

import pytest

from anomaly.incidents.transition import Severity
from anomaly.notify.delivery import DeliveryError, Event
from tests.notify.alertmanagers import send
from tests.notify.deliveries import secret_file, told
from tests.notify.pages import nan_gradient, silent_runs
from tests.notify.recording_server import recording, says


def test_an_escalation_is_one_request() -> None:
    async def scenario() -> None:
        async with recording() as server:
            warning = nan_gradient(severity=Severity.WARNING)
            escalation = told(Event.ESCALATE, nan_gradient(transition=2), before=Severity.WARNING)
            await asyncio.to_thread(send, [server.url], told(transition=warning), escalation)
            assert [len(request.json) for request in server.requests] == [1, 2]
            old, new = server.requests[1].json
            assert (old["labels"]["severity"], new["labels"]["severity"]) == ("warning", "critical")
            assert old["endsAt"] < new["endsAt"]
            assert {**old["labels"], "severity": "critical"} == new["labels"]

    asyncio.run(scenario())


def test_one_alertmanager_of_two_is_enough_and_the_other_is_named_in_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with recording() as good, recording(says(503, "starting")) as bad:
            await asyncio.to_thread(send, [bad.url, good.url], told())
            assert len(good.requests) == 1
            assert f"told again within a minute: {bad.url}" in caplog.text
            bad.otherwise = says(200)
            await asyncio.to_thread(send, [bad.url, good.url], told(), refresh=True)
            assert len(bad.requests[-1].json) == 1

    caplog.set_level(logging.WARNING)
    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("statuses", "retriable"), [((503, 503), True), ((400, 503), True), ((400, 400), False), ((429,), True)]
)
def test_where_none_took_it_it_is_tried_again_if_one_may_take_it(
    statuses: tuple[int, ...], retriable: bool
) -> None:
    async def scenario() -> None:
        async with (
            recording(says(statuses[0], "", {"Retry-After": "9"})) as one,
            recording(says(statuses[-1])) as two,
        ):
            with pytest.raises(DeliveryError) as caught:
                await asyncio.to_thread(send, [one.url, two.url], told())
            assert caught.value.retriable == retriable
            assert caught.value.retry_after_seconds == 9

    asyncio.run(scenario())


def test_a_request_that_fails_does_not_keep_the_rest_of_a_refresh_back() -> None:
    async def scenario() -> None:
        async with recording() as server:
            server.answers = [says(400, "one of them is odd")]
            with pytest.raises(DeliveryError, match="one of them is odd"):
                await asyncio.to_thread(
                    send, [server.url], *(told(transition=one) for one in silent_runs(450)), refresh=True
                )
            assert [len(request.json) for request in server.requests] == [200, 200, 50]

    asyncio.run(scenario())


def test_it_logs_in_where_a_name_is_given_and_keeps_the_password_to_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with recording(says(401, "hunter22-hunter22 is wrong")) as server:
            with pytest.raises(DeliveryError) as caught:
                await asyncio.to_thread(
                    send, [server.url], told(), username="ana",
                    password_file=secret_file(tmp_path, "hunter22-hunter22\n"),
                )  # fmt: skip
            sent = server.requests[0].headers["Authorization"].removeprefix("Basic ")
            assert base64.b64decode(sent) == b"ana:hunter22-hunter22"
            assert "hunter22" not in str(caught.value)

    asyncio.run(scenario())


def test_a_receipt_that_is_none_of_its_own_is_not_used() -> None:
    async def scenario() -> None:
        async with recording() as server:
            for receipt in ("C012:1.2", "[1]", json.dumps({"incident": "another"})):
                await asyncio.to_thread(send, [server.url], told(receipt=receipt))
            assert {request.json[0]["labels"]["incident"] for request in server.requests} == {
                "3a537a06ea04a673"
            }

    asyncio.run(scenario())
