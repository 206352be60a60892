"""Alertmanager's configuration: checked by amtool, and tried on a real Alertmanager whose receivers are recorded."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomaly.incidents.transition import Severity
from anomaly.notify.receivers.alertmanager import ALERTS_A_REQUEST, labels_of
from tests.deploy.files import DEPLOY, read_yaml, rules
from tests.deploy.office import CONFIG, Office
from tests.install_servers import command
from tests.notify.pages import nan_gradient

FOLDER = DEPLOY / "alertmanager"
AT_ONCE = 5.0
"""Seconds: far from the intervals of the groups, and long for a busy machine."""


def amtool(*arguments: str) -> str:
    done = subprocess.run([command("amtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("monitoring")
@pytest.mark.parametrize("name", ["alertmanager.yml", "demo.yml"])
def test_amtool_takes_the_configuration(name: str) -> None:
    amtool("check-config", str(FOLDER / name))


def test_the_demonstration_differs_in_its_receivers_alone() -> None:
    shipped, demo = read_yaml(CONFIG), read_yaml(FOLDER / "demo.yml")
    assert {key: demo[key] for key in ("route", "inhibit_rules", "templates")} == {
        key: shipped[key] for key in ("route", "inhibit_rules", "templates")
    }
    assert [each["name"] for each in demo["receivers"]] == [each["name"] for each in shipped["receivers"]]


def test_no_secret_stands_in_the_configuration() -> None:
    text = yaml.dump(read_yaml(CONFIG))
    assert not [word for word in ("password:", "routing_key:", "api_url:", "credentials:") if word in text]


@pytest.mark.usefixtures("monitoring")
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=TrainingAnomaly severity=critical run=r incident=1", "oncall"),
        ("alertname=TrainingAnomaly severity=warning run=r team=vision", "chat"),
        ("alertname=TrainingAnomaly severity=critical run=r storm=s", "oncall"),
        ("alertname=TrainingAnomaly severity=warning run=r storm=s", "chat"),
        ("alertname=SomethingElse severity=critical", "chat"),
    ],
)
def test_an_alert_goes_to(labels: str, receiver: str) -> None:
    amtool(
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        f"--verify.receivers={receiver}",
        *labels.split(),
    )


@pytest.mark.usefixtures("monitoring")
@pytest.mark.parametrize("rule", rules("alerts"), ids=lambda rule: rule["alert"])
def test_our_own_alerts_go_to_the_detectors_people(rule: dict[str, Any]) -> None:
    wanted = {"critical": "detector-oncall", "warning": "detector-chat", "none": "heartbeat"}
    labels = [f"alertname={rule['alert']}", *(f"{name}={value}" for name, value in rule["labels"].items())]
    receiver = wanted[rule["labels"]["severity"]]
    amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels)


def alert(run: str, severity: str = "critical", incident: str = "1", **labels: str) -> dict[str, Any]:
    """As the notifier sends it."""
    named = {
        "alertname": "TrainingAnomaly",
        "run": run,
        "severity": severity,
        "incident": f"{run}-{incident}",
    }
    return {"labels": named | labels, "annotations": {"summary": f"something of {run}", "advice": "Stop."}}


def ended(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "endsAt": datetime.now(UTC).isoformat()}


def test_a_second_critical_incident_of_a_run_pages_at_once(office: Office) -> None:
    office.send(alert("twice", incident="1"))
    office.wait_for("oncall", AT_ONCE, incident="twice-1")
    office.send(alert("twice", incident="2"))
    page = office.wait_for("oncall", AT_ONCE, incident="twice-2")
    assert [one["labels"]["incident"] for one in page["alerts"]] == ["twice-2"]


def test_an_escalation_pages_at_once(office: Office) -> None:
    before, after = alert("escalates", "warning"), alert("escalates", "critical")
    office.send(before)
    office.wait_for("chat", run="escalates")
    office.send(ended(before), after)
    page = office.wait_for("oncall", AT_ONCE, run="escalates")
    assert [(one["status"], one["labels"]["severity"]) for one in page["alerts"]] == [("firing", "critical")]


def test_a_warning_under_a_critical_incident_of_its_run_is_not_sent(office: Office) -> None:
    office.send(alert("both", "critical"))
    office.wait_for("oncall", AT_ONCE, run="both")
    office.send(alert("both", "warning", incident="2"))
    office.send(alert("warned", "warning"))  # later, and with the same wait
    office.wait_for("chat", run="warned")
    assert office.messages("chat", run="both") == []


def test_a_storm_of_400_runs_is_one_page(office: Office) -> None:
    storm = [alert(f"storm-{number}", storm="storm-oncall-1") for number in range(400)]
    for start in range(0, len(storm), ALERTS_A_REQUEST):
        office.send(*storm[start : start + ALERTS_A_REQUEST])
    office.wait_for("oncall", storm="storm-oncall-1")
    office.send(alert("late", storm="storm-oncall-2"))  # what was due of the first is sent before it
    office.wait_for("oncall", storm="storm-oncall-2")
    (page,) = office.messages("oncall", storm="storm-oncall-1")
    assert len({one["labels"]["run"] for one in page["alerts"]}) == 400


def test_a_silence_holds_and_a_resolution_arrives(office: Office) -> None:
    matcher = {"name": "run", "value": "quiet.*", "isRegex": True, "isEqual": True}
    times = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z"}
    office.server.post(
        "/api/v2/silences", {"matchers": [matcher], "createdBy": "test", "comment": "known", **times}
    )
    office.send(alert("quiet-7"))
    office.send(alert("loud-7"))
    office.wait_for("oncall", run="loud-7")
    office.send(ended(alert("loud-7")))
    assert office.wait_for("oncall", count=2, run="loud-7")["status"] == "resolved"
    assert office.messages("oncall", run="quiet-7") == []
    (silenced,) = office.server.alerts(filter='run="quiet-7"')
    assert silenced["status"]["state"] == "suppressed"


def one_alert(number: int, summary: str, description: str = "", **labels: str) -> dict[str, Any]:
    annotations = {
        "summary": summary,
        "description": description,
        "grafana": f"https://grafana.lab.org/{number}",
    }
    return {
        "status": "firing",
        "labels": {"alertname": "TrainingAnomaly", "run": f"gpt-{number}", "severity": "critical"} | labels,
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": "2026-01-01T00:00:00Z",
    }


def rendered(
    template: str, alerts: list[dict[str, Any]], folder: Path, status: str = "firing", **group: str
) -> str:
    common = lambda part: dict(set.intersection(*(set(each[part].items()) for each in alerts)))  # noqa: E731
    data = {
        "status": status, "receiver": "oncall", "alerts": alerts, "groupLabels": group,
        "commonLabels": common("labels"), "commonAnnotations": common("annotations"),
    }  # fmt: skip
    path = folder / "data.json"
    path.write_text(json.dumps(data))
    return amtool(
        "template", "render", f"--template.glob={FOLDER / 'anomaly.tmpl'}", f"--template.data={path}",
        f'--template.text={{{{ template "{template}" . }}}}',
    ).strip()  # fmt: skip


@pytest.mark.usefixtures("monitoring")
def test_a_page_through_alertmanager_reads_as_the_notifier_wrote_it(tmp_path: Path) -> None:
    title, body = "[critical] gpt-1: NaN gradient in h.3", "value: NaN\n\nDo: Stop the run."
    page = [one_alert(1, "NaN gradient in h.3", body)]
    assert rendered("anomaly.title", page, tmp_path) == title
    assert rendered("anomaly.text", page, tmp_path) == f"{body}\nhttps://grafana.lab.org/1"
    assert rendered("anomaly.title", page, tmp_path, "resolved") == f"resolved: {title}"


@pytest.mark.usefixtures("monitoring")
def test_a_storm_is_a_list_of_runs_and_a_runs_warnings_are_told_one_by_one(tmp_path: Path) -> None:
    storm = [one_alert(number, "Run went silent", "long", storm="s") for number in range(3)]
    assert rendered("anomaly.title", storm, tmp_path, storm="s") == "[critical] 3 incidents at once"
    lines = rendered("anomaly.text", storm, tmp_path, storm="s").splitlines()
    assert lines[2:] == [f"gpt-{number}: Run went silent" for number in range(3)]
    warnings = [one_alert(7, what, f"{what} of 3", severity="warning") for what in ("one", "two")]
    assert rendered("anomaly.title", warnings, tmp_path) == "[warning] 2 incidents of gpt-7"
    assert "gpt-7: one\none of 3\n" in rendered("anomaly.text", warnings, tmp_path)


@pytest.mark.usefixtures("monitoring")
def test_an_alert_on_ourselves_says_its_severity_and_where_to_read_on(tmp_path: Path) -> None:
    (rule,) = (each for each in rules("alerts") if each["alert"] == "AnomalyReceiverFails")
    labels = {"alertname": rule["alert"], **rule["labels"]}
    own = [
        {"status": "firing", "labels": labels | {"receiver": name}, "annotations": rule["annotations"]}
        for name in ("oncall", "chat")
    ]
    for several in (own[:1], own):
        assert rendered("anomaly.title", several, tmp_path) == f"[critical] {rule['annotations']['summary']}"
        assert rule["annotations"]["runbook"] in rendered("anomaly.text", several, tmp_path)


def test_what_is_routed_grouped_and_inhibited_by_are_labels_that_alerts_have() -> None:
    tags = {"team": "vision", "project": "p", "owner": "o"}
    known = labels_of(nan_gradient(tags=tags), Severity.CRITICAL, "storm-1").keys()
    for rule in rules("alerts"):
        known |= rule["labels"].keys()
    text = read_yaml(CONFIG)
    used = set(re.findall(r"(\w+)=~?\\?\"", json.dumps([text["route"], text["inhibit_rules"]])))
    used |= {label for each in text["inhibit_rules"] for label in each["equal"]}
    used |= set(re.findall(r"\w+", " ".join(map(str, groups(text["route"])))))
    assert used - known == {"receiver", "integration"}  # of our own alerts, from the metrics they are about


def groups(route: dict[str, Any]) -> list[str]:
    found: list[str] = list(route.get("group_by", []))
    for each in route.get("routes", []):
        found += groups(each)
    return found
