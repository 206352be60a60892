from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from anomaly.incidents.transition import Severity
from anomaly.notify.delivery import DeliveryError, Event
from anomaly.notify.http import Http
from anomaly.notify.receivers.pagerduty import PagerDuty
from anomaly.settings_receivers import PagerDutySpec
from tests.notify.deliveries import secret_file, spec, told, told_storm, trial
from tests.notify.fake_pagerduty import ROUTING_KEY, FakePagerDuty, fake_pagerduty
from tests.notify.pages import HOSTILE, nan_gradient, resolved, silent_runs
from tests.notify.recording_server import says

Scenario = Callable[[FakePagerDuty, PagerDuty], Awaitable[None]]
INCIDENT = "3a537a06ea04a673"


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario against a fake PagerDuty."""

    async def scene(scenario: Scenario) -> None:
        http = Http(environment={})
        async with fake_pagerduty() as fake:
            made = spec("pagerduty", url=fake.server.url, routing_key_file=secret_file(tmp_path, ROUTING_KEY))
            assert isinstance(made, PagerDutySpec)
            try:
                await scenario(fake, PagerDuty(made, http))
            finally:
                await http.close()

    return lambda scenario: asyncio.run(scene(scenario))


Play = Callable[[Scenario], None]


def test_a_page_wakes_someone_once_however_often_it_is_sent(play: Play) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        for _ in range(3):
            assert await pager.deliver(told()) == INCIDENT
        assert fake.woken == [INCIDENT]
        payload = fake.incidents[INCIDENT].events[0]["payload"]
        assert payload["summary"].startswith("[critical] gpt-7b-ablation: NaN gradient in layers.17.attn")
        assert (payload["source"], payload["component"]) == ("gpt-7b-ablation", "layers.17.attn")
        assert payload["custom_details"]["go back to"] == "checkpoint 41,000, the newest before it began"
        assert payload["custom_details"]["do"].startswith("Stop the run")
        links = [link["text"] for link in fake.incidents[INCIDENT].events[0]["links"]]
        assert links == ["Grafana", "The run's dashboard (wandb.example)", "Runbook"]

    play(scenario)


def test_an_update_leaves_an_acknowledgement_as_it_is(play: Play) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        receipt = await pager.deliver(told())
        fake.incidents[INCIDENT].state = "acknowledged"
        await pager.deliver(told(Event.UPDATE, nan_gradient(transition=2), receipt=receipt))
        assert fake.incidents[INCIDENT].state == "acknowledged"
        assert fake.woken == [INCIDENT]

    play(scenario)


def test_an_escalation_wakes_again_although_the_warning_was_acknowledged_and_one_incident_stays(
    play: Play,
) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        receipt = await pager.deliver(told(transition=nan_gradient(severity=Severity.WARNING)))
        fake.incidents[INCIDENT].state = "acknowledged"
        escalation = told(
            Event.ESCALATE, nan_gradient(transition=2), before=Severity.WARNING, receipt=receipt
        )
        for _ in range(2):
            louder = await pager.deliver(escalation)
        assert fake.woken == [INCIDENT, f"{INCIDENT}-critical"]
        assert fake.incidents[INCIDENT].state == "resolved"
        await pager.deliver(told(Event.UPDATE, nan_gradient(transition=3), receipt=louder))
        await pager.deliver(told(Event.RESOLVE, resolved(), before=Severity.CRITICAL, receipt=louder))
        assert {incident.state for incident in fake.incidents.values()} == {"resolved"}
        assert len(fake.woken) == 2

    play(scenario)


def test_a_resolution_without_a_receipt_ends_what_was_opened(play: Play) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        await pager.deliver(told())
        await pager.deliver(told(Event.RESOLVE, resolved(), before=Severity.CRITICAL))
        assert fake.incidents[INCIDENT].state == "resolved"

    play(scenario)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_taken_and_stay_on_their_lines(play: Play, name: str) -> None:
    one = nan_gradient(run=name, layer=name, kind=name, tags={"owner": name, "dashboard": name})

    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        await pager.deliver(told(transition=one))
        (event,) = fake.incidents[INCIDENT].events
        details = event["payload"].pop("custom_details")
        assert all(text.isprintable() for text in (*event["payload"].values(), *details.values()))

    play(scenario)


def test_a_storm_is_one_incident_that_names_its_runs(play: Play) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        storm = told_storm(silent_runs(400))
        await pager.deliver(storm)
        ((key, incident),) = fake.incidents.items()
        assert key == storm.dedup
        assert len(incident.events[0]["payload"]["custom_details"]["runs"]) == 21

    play(scenario)


def test_what_would_be_too_large_loses_its_details_and_not_the_page(play: Play) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        delivery = told()
        page = msgspec.structs.replace(delivery.page, title="t" * 5000, runs=("r" * 600_000,))
        await pager.deliver(msgspec.structs.replace(delivery, page=page))
        payload = fake.incidents[INCIDENT].events[0]["payload"]
        assert payload["summary"] == "t" * 1024
        assert "too many" in payload["custom_details"]["left out"]

    play(scenario)


def test_a_test_page_is_the_mildest(play: Play) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        await pager.deliver(trial())
        assert fake.incidents["test-1"].events[0]["payload"]["severity"] == "info"

    play(scenario)


@pytest.mark.parametrize(("status", "retriable"), [(400, False), (429, True), (500, True), (403, False)])
def test_a_refusal_shows_no_key_and_is_tried_again_only_where_that_helps(
    play: Play, status: int, retriable: bool
) -> None:
    async def scenario(fake: FakePagerDuty, pager: PagerDuty) -> None:
        fake.server.answers = [says(status, f"no {ROUTING_KEY}")]
        with pytest.raises(DeliveryError) as caught:
            await pager.deliver(told())
        assert caught.value.retriable == retriable
        assert ROUTING_KEY not in str(caught.value)

    play(scenario)
