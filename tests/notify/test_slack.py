from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from anomaly.incidents.transition import Severity
from anomaly.notify.delivery import DeliveryError, Event
from anomaly.notify.http import Http
from anomaly.notify.receivers.slack import Slack
from anomaly.settings_receivers import SlackSpec
from tests.notify.deliveries import PNG, secret_file, spec, told, told_storm, trial
from tests.notify.fake_slack import CHANNEL, TOKEN, FakeSlack, fake_slack
from tests.notify.pages import HOSTILE, nan_gradient, resolved, silent_runs
from tests.notify.recording_server import cuts, says

Scenario = Callable[[FakeSlack, Slack], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario against a fake Slack."""

    async def scene(scenario: Scenario) -> None:
        http = Http(environment={})
        async with fake_slack() as fake:
            made = spec(
                "slack", channel=CHANNEL, url=fake.url, token_file=secret_file(tmp_path, f"{TOKEN}\n")
            )
            assert isinstance(made, SlackSpec)
            try:
                await scenario(fake, Slack(made, http))
            finally:
                await http.close()

    return lambda scenario: asyncio.run(scene(scenario))


Play = Callable[[Scenario], None]


def all_text(fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


def test_an_incident_is_one_message_that_is_kept_up_to_date_and_a_thread(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        warning = nan_gradient(severity=Severity.WARNING)
        receipt = await slack.deliver(told(transition=warning))
        update = nan_gradient(transition=2, severity=Severity.WARNING, ranks=(3, 5))
        for delivery in (
            told(Event.UPDATE, update, receipt=receipt),
            told(Event.ESCALATE, nan_gradient(transition=3), before=Severity.WARNING, receipt=receipt),
            told(Event.RESOLVE, resolved(), before=Severity.CRITICAL, receipt=receipt),
        ):
            assert await slack.deliver(delivery) == receipt
        ((stamp, message),) = fake.messages.items()
        assert receipt == f"{CHANNEL}:{stamp}"
        assert message["blocks"][0]["text"]["text"].startswith("[resolved] gpt-7b-ablation")
        replies = fake.threads[stamp]
        assert [reply["text"].partition(":")[0] for reply in replies] == ["update", "escalate", "resolve"]
        assert [reply["reply_broadcast"] for reply in replies] == [False, True, False]

    play(scenario)


def test_the_picture_goes_into_the_thread(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        receipt = await slack.deliver(told(picture=PNG))
        assert fake.files == {"upload-1": PNG}
        assert fake.shared[0]["thread_ts"] == (receipt or "").partition(":")[2]
        assert fake.shared[0]["channel_id"] == CHANNEL
        upload = next(request for request in fake.server.requests if request.path == "/upload-1")
        assert "Authorization" not in upload.headers

    play(scenario)


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
def test_a_picture_that_fails_neither_fails_nor_repeats_the_page(
    play: Play, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        fake.refuse[method] = ["missing_scope"]
        assert await slack.deliver(told(picture=PNG))
        assert len(fake.messages) == 1
        assert "files:write" in caplog.text

    play(scenario)


@pytest.mark.parametrize(
    "elsewhere", ["https://files.slack.com/x", "http://127.0.0.1:9/upload-1", "http://evil.example/up", ""]
)
def test_a_picture_is_not_sent_where_slack_would_not_have_it(play: Play, elsewhere: str) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        fake.upload_url = elsewhere or "nonsense"
        assert await slack.deliver(told(picture=PNG))
        assert fake.shared == []

    play(scenario)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_plain_text_and_mention_nobody(play: Play, name: str) -> None:
    one = nan_gradient(
        run=name, layer=name, layers=(name, name), kind=name, tags={"owner": name, "dashboard": name}
    )

    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        receipt = await slack.deliver(told(transition=one))
        await slack.deliver(told(Event.UPDATE, one, receipt=receipt))
        (message,) = fake.messages.values()
        (reply,) = fake.threads.popitem()[1]
        for block in message["blocks"]:
            if block["type"] != "context":
                assert block["text"]["type"] == "plain_text"
                assert block["text"]["emoji"] is False
        obeyed = [message["text"], reply["text"]]
        assert not any(sign in text for text in obeyed for sign in "<>")
        links = [each["text"] for block in message["blocks"][2:] for each in block["elements"]]
        assert [link.count("<") for link in links] == [1] * len(links)

    play(scenario)


def test_a_storm_of_four_hundred_runs_is_one_message_that_slack_takes(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        receipt = await slack.deliver(told_storm(silent_runs(400)))
        await slack.deliver(told_storm(silent_runs(400), Event.RESOLVE, 2, receipt=receipt))
        (message,) = fake.messages.values()
        assert message["blocks"][0]["text"]["text"].startswith("[resolved] 400 incidents")

    play(scenario)


def test_a_test_page_is_a_message_of_its_own(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        await slack.deliver(trial())
        assert "[test]" in all_text(fake.messages)

    play(scenario)


def test_of_a_message_that_someone_deleted_only_what_wakes_is_said_again(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        receipt = await slack.deliver(told(transition=nan_gradient(severity=Severity.WARNING)))
        fake.messages.clear()
        assert await slack.deliver(told(Event.UPDATE, receipt=receipt)) == receipt
        assert fake.messages == {}
        again = await slack.deliver(told(Event.ESCALATE, before=Severity.WARNING, receipt=receipt))
        assert again != receipt or len(fake.messages) == 1
        assert len(fake.messages) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("error", "retriable", "todo"),
    [
        ("channel_not_found", False, "invite the bot"),
        ("invalid_auth", False, "correct the token"),
        ("internal_error", True, "Slack"),
        ("ratelimited", True, "Slack"),
        ("something_new\r\n<x>", False, "documentation"),
    ],
)
def test_what_slack_refuses_is_tried_again_only_where_that_helps(
    play: Play, error: str, retriable: bool, todo: str
) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        fake.refuse["chat.postMessage"] = [error]
        with pytest.raises(DeliveryError, match=todo) as caught:
            await slack.deliver(told())
        assert caught.value.retriable == retriable
        assert str(caught.value).isprintable()

    play(scenario)


def test_a_rate_limit_says_how_long_to_wait(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        fake.server.answers = [says(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"})]
        with pytest.raises(DeliveryError) as caught:
            await slack.deliver(told())
        assert (caught.value.retriable, caught.value.retry_after_seconds) == (True, 30.0)

    play(scenario)


@pytest.mark.parametrize("answer", [says(500, "no"), says(200, "<html>"), says(200, ["a list"]), cuts])
def test_what_is_no_answer_of_slacks_is_tried_again_and_shows_no_token(play: Play, answer: Any) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        fake.server.answers = [answer]
        with pytest.raises(DeliveryError) as caught:
            await slack.deliver(told())
        assert caught.value.retriable
        assert TOKEN not in str(caught.value)

    play(scenario)


def test_a_token_that_is_replaced_is_read_anew(play: Play, tmp_path: Path) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        secret_file(tmp_path, "xoxb-old")
        with pytest.raises(DeliveryError, match="correct the token"):
            await slack.deliver(told())
        (tmp_path / "secret").unlink()
        with pytest.raises(DeliveryError, match="token_file") as caught:
            await slack.deliver(told())
        assert caught.value.retriable
        secret_file(tmp_path, TOKEN)
        assert await slack.deliver(told())

    play(scenario)


def test_a_receipt_that_is_not_slacks_makes_a_message_of_its_own(play: Play) -> None:
    async def scenario(fake: FakeSlack, slack: Slack) -> None:
        await slack.deliver(told(Event.UPDATE, receipt='{"alertname": "x"}'))
        assert len(fake.messages) == 1

    play(scenario)
