"""apprise's own JSON service, so that what arrives is what it made of a page."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from anomaly.errors import SettingsError
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.notify.http import Http
from anomaly.notify.receivers.apprise import BODY_CHARACTERS, AppriseServices
from anomaly.settings_receivers import AppriseSpec
from tests.notify.deliveries import secret_file, spec, told, told_storm
from tests.notify.pages import HOSTILE, nan_gradient, resolved, silent_runs
from tests.notify.recording_server import Answer, recording, says

KEY = "s3cr3t" * 4
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def receiver(folder: Path, addresses: str) -> AppriseServices:
    made = spec("apprise", url_file=secret_file(folder, addresses))
    assert isinstance(made, AppriseSpec)
    return AppriseServices(made, Http(environment={}))


def sent(folder: Path, delivery: Delivery, answer: Answer | None = None, services: int = 1) -> list[Any]:
    """What came to the service, or services."""

    async def scenario() -> list[Any]:
        async with recording(answer) as server:
            address = server.url.replace("http://", "json://") + f"/{KEY}"
            await receiver(folder, f"{address}\n" * services).deliver(delivery)
            return [request.json for request in server.requests]

    return asyncio.run(scenario())


def test_a_page_arrives_with_its_links_and_its_urgency(tmp_path: Path) -> None:
    (page,) = sent(tmp_path, told())
    assert page["title"].startswith("[critical] gpt-7b-ablation: NaN gradient in layers.17.attn")
    assert "go back to: checkpoint 41,000" in page["message"]
    assert "Runbook: https://runbooks.lab.example/anomaly/nonfinite_gradient.md" in page["message"]
    assert page["type"] == "failure"
    assert sent(tmp_path, told(Event.RESOLVE, resolved()))[0]["type"] == "success"


def test_every_line_of_the_file_is_a_service(tmp_path: Path) -> None:
    assert len(sent(tmp_path, told(), services=2)) == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_mention_nobody_and_link_nowhere(tmp_path: Path, name: str) -> None:
    one = nan_gradient(run=name, layer=name, kind=name, tags={"owner": name, "dashboard": name})
    (page,) = sent(tmp_path, told(transition=one))
    body = page["message"].partition("Grafana:")[0]
    for text in (page["title"], body):
        assert not set("<>@`") & set(text)
        assert "](" not in text
        assert all(line.isprintable() for line in text.split("\n"))


def test_a_storm_is_cut_to_what_chats_take_and_keeps_its_link(tmp_path: Path) -> None:
    (page,) = sent(tmp_path, told_storm(silent_runs(400)))
    assert len(page["message"]) < BODY_CHARACTERS + 200
    assert page["message"].endswith("anomaly-fleet")


@pytest.mark.parametrize("addresses", ["", "nonsense", f"json://localhost/{KEY}\nnonsense://{KEY}"])
def test_addresses_that_apprise_does_not_know_are_refused_at_the_start_and_not_repeated(
    tmp_path: Path, addresses: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SettingsError) as caught:
        receiver(tmp_path, addresses)
    assert KEY not in str(caught.value) + caplog.text


def test_a_service_that_fails_is_tried_again_and_its_address_is_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(DeliveryError, match="did not take it") as caught:
        sent(tmp_path, told(), says(500, KEY))
    assert caught.value.retriable
    assert KEY not in str(caught.value) + caplog.text
