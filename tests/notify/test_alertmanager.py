"""Pages at a real Alertmanager."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from anomaly.incidents.transition import Severity, Status
from anomaly.notify.delivery import Event
from anomaly.notify.receivers.alertmanager import ENDS_AFTER_SECONDS
from tests.conftest import available
from tests.install_servers import alertmanager
from tests.monitoring_servers import Alertmanager as RealAlertmanager
from tests.monitoring_servers import RecordingWebhook
from tests.notify.alertmanagers import CONFIG, pages, send
from tests.notify.deliveries import told, told_storm, trial
from tests.notify.pages import HOSTILE, nan_gradient, resolved, silent_runs
from tests.worker.processes import eventually


@pytest.fixture(scope="module")
def webhook() -> Iterator[RecordingWebhook]:
    with RecordingWebhook() as server:
        yield server


@pytest.fixture(scope="module")
def real(
    pytestconfig: pytest.Config, webhook: RecordingWebhook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealAlertmanager]:
    available(pytestconfig, alertmanager)
    folder = tmp_path_factory.mktemp("alertmanager")
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG % webhook.url)
    with RealAlertmanager(folder, config) as server:
        yield server


def active(real: RealAlertmanager, incident: str) -> list[dict[str, Any]]:
    return real.alerts(filter=f'incident="{incident}"')


def test_a_page_is_one_alert_with_all_that_a_route_needs(
    real: RealAlertmanager, webhook: RecordingWebhook
) -> None:
    one = nan_gradient(incident="a1", tags={"team": "nlp", "owner": "ana@lab.example", "priority": "high"})
    send([real.url], told(transition=one))
    send([real.url], told(transition=one))  # the same once more, as after a crash
    (alert,) = active(real, "a1")
    assert alert["labels"] == {
        "alertname": "TrainingAnomaly", "incident": "a1", "run": "gpt-7b-ablation", "kind": "nonfinite_gradient",
        "severity": "critical", "family": "nonfinite", "team": "nlp", "owner": "ana@lab.example",
    }  # fmt: skip
    assert alert["annotations"]["summary"] == "NaN gradient in layers.17.attn on rank 3 since step 41,203"
    assert "go back to: checkpoint 41,000" in alert["annotations"]["description"]
    assert alert["annotations"]["runbook_url"] == "https://runbooks.lab.example/anomaly/nonfinite_gradient.md"
    assert alert["generatorURL"] == alert["annotations"]["grafana"]
    eventually("one page", lambda: pages(webhook, "a1") == [("firing", "critical")])


def test_a_silence_of_the_team_is_respected(real: RealAlertmanager, webhook: RecordingWebhook) -> None:
    now = datetime.now(UTC)
    real.post(
        "/api/v2/silences",
        {
            "matchers": [{"name": "run", "value": "known-bad", "isRegex": False}],
            "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "ana", "comment": "known",
        },
    )  # fmt: skip
    send([real.url], told(transition=nan_gradient(incident="b1", run="known-bad")))
    send([real.url], told(transition=nan_gradient(incident="b2", run="another")))
    eventually("the page of the run that is not silenced", lambda: pages(webhook, "b2") != [])
    (alert,) = active(real, "b1")
    assert alert["status"]["state"] == "suppressed"
    assert pages(webhook, "b1") == []


def test_an_escalation_replaces_the_warning_by_a_critical_alert(
    real: RealAlertmanager, webhook: RecordingWebhook
) -> None:
    warning = nan_gradient(incident="c1", severity=Severity.WARNING, kind="loss_divergence")
    critical = nan_gradient(incident="c1", transition=2, kind="nonfinite_loss", tags=None)
    receipts = send(
        [real.url], told(transition=warning), told(Event.ESCALATE, critical, before=Severity.WARNING)
    )
    (alert,) = active(real, "c1")
    assert alert["labels"]["severity"] == "critical"
    assert alert["labels"]["kind"] == "loss_divergence"  # as it was opened, so that silences still fit
    assert alert["labels"]["team"] == "nlp"
    assert alert["annotations"]["summary"].startswith("NaN loss")
    eventually("the critical page", lambda: ("firing", "critical") in pages(webhook, "c1"))
    eventually("the warning's end", lambda: ("resolved", "warning") in pages(webhook, "c1"))
    send(
        [real.url],
        told(Event.RESOLVE, resolved(incident="c1"), before=Severity.CRITICAL, receipt=receipts[-1]),
    )
    eventually("nothing open", lambda: active(real, "c1") == [])
    eventually("the critical one's end", lambda: ("resolved", "critical") in pages(webhook, "c1"))


def test_a_resolution_without_its_receipt_still_finds_its_alert(real: RealAlertmanager) -> None:
    send([real.url], told(transition=nan_gradient(incident="d1")))
    send([real.url], told(Event.RESOLVE, resolved(incident="d1"), before=Severity.CRITICAL))
    eventually("nothing open", lambda: active(real, "d1") == [])


def test_what_is_refreshed_keeps_firing_and_what_is_not_ends(real: RealAlertmanager) -> None:
    kept, left = nan_gradient(incident="e1"), nan_gradient(incident="e2")
    earlier = lambda: time.time() - ENDS_AFTER_SECONDS + 3  # noqa: E731
    send([real.url], told(transition=kept), clock=earlier)
    send([real.url], told(transition=left), clock=earlier)
    send([real.url], told(transition=kept), refresh=True)
    eventually("the end of what nobody refreshed", lambda: active(real, "e2") == [])
    assert len(active(real, "e1")) == 1


@pytest.mark.parametrize("at", range(len(HOSTILE)))
def test_hostile_names_are_one_alert_without_tags_in_it(real: RealAlertmanager, at: int) -> None:
    name = HOSTILE[at]
    incident = f"f{at}"
    tags = {"team": name, "project": name, "owner": name, "dashboard": name}
    send(
        [real.url],
        told(transition=nan_gradient(incident=incident, run=name, layer=name, kind=name, tags=tags)),
    )
    (alert,) = active(real, incident)
    texts = [*alert["labels"].values(), *alert["annotations"].values()]
    assert not any("<" in text or ">" in text for text in texts)
    assert all(line.isprintable() for text in texts for line in text.split("\n"))


@pytest.mark.parametrize("opened", [None, -5.0, 4e9, float("nan"), float("inf")])
def test_a_clock_that_is_out_of_its_mind_does_not_lose_the_page(
    real: RealAlertmanager, opened: float | None
) -> None:
    incident = f"g{opened}"
    send([real.url], told(transition=nan_gradient(incident=incident, opened_unix_seconds=opened)))
    assert len(active(real, incident)) == 1


def test_a_storm_is_an_alert_each_with_one_label_in_common_and_their_ends_come(
    real: RealAlertmanager,
) -> None:
    members = silent_runs(450)
    send([real.url], told_storm(members))
    found = real.alerts(filter='storm="storm-on-call-1790000000-1"')
    assert len(found) == 450
    assert {each["annotations"]["summary"] for each in found} == {"Run went silent since step 41,203"}
    assert all(f"var-run={each['labels']['run']}&" in each["annotations"]["grafana"] for each in found)
    over = [msgspec.structs.replace(one, status=Status.RESOLVED) for one in members[:449]]
    send([real.url], told_storm([*over, members[449]], Event.UPDATE, 2))
    assert len(real.alerts(filter='storm="storm-on-call-1790000000-1"')) == 1
    send([real.url], told_storm(over + members[449:], Event.RESOLVE, 3))
    assert real.alerts(filter='storm="storm-on-call-1790000000-1"') == []


def test_one_of_a_storm_that_rises_is_no_warning_any_more(real: RealAlertmanager) -> None:
    members = [nan_gradient(incident=f"h{at}", severity=Severity.WARNING) for at in range(2)]
    send([real.url], told_storm(members))
    risen = [msgspec.structs.replace(members[0], severity=Severity.CRITICAL), members[1]]
    send([real.url], told_storm(risen, Event.ESCALATE, 2, before=Severity.WARNING))
    assert [each["labels"]["severity"] for each in active(real, "h0")] == ["critical"]
    assert [each["labels"]["severity"] for each in active(real, "h1")] == ["warning"]


def test_a_test_page_says_what_it_is(real: RealAlertmanager) -> None:
    send([real.url], trial())
    (alert,) = active(real, "test-1")
    assert alert["labels"]["kind"] == "test"
    assert alert["annotations"]["summary"].startswith("[test]")
