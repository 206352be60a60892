"""Prometheus's rules about ourselves: each one tried by promtool at a silent time and at a firing time."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from anomaly.metrics import WorkerMetrics
from anomaly.notify.decide import Reason
from anomaly.notify.metrics import NotifierMetrics
from tests.deploy.files import DEPLOY, read_yaml, rules
from tests.install_servers import command
from tests.repository import REPOSITORY

ALERTS = {rule["alert"]: rule for rule in rules("alerts")}
RECORDED = {rule["record"]: rule["expr"] for rule in rules("recording")}
UNIT_TESTS = Path(__file__).parent / "rules"
NEVER_SILENT = {"AnomalyDeadMansSwitch"}
"""Its silence is the alarm: a time at which it does not fire cannot exist."""


def promtool(*arguments: object) -> None:
    done = subprocess.run(
        [command("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=DEPLOY / "prometheus",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("monitoring")
def test_promtool_takes_the_configuration_and_the_rules_that_it_names() -> None:
    promtool("check", "config", "prometheus.yml")
    named = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["rule_files"]
    assert {f"{path.stem}.yml" for path in (DEPLOY / "prometheus").glob("*.yml")} == {
        *named,
        "prometheus.yml",
    }


@pytest.mark.usefixtures("monitoring")
@pytest.mark.parametrize("name", [*ALERTS, "recording"])
def test_a_rule_fires_and_keeps_silent_when_it_should(name: str) -> None:
    promtool("test", "rules", UNIT_TESTS / f"{name}.yml")


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tried_at_a_silent_time_and_at_a_firing_time(name: str) -> None:
    tests = read_yaml(UNIT_TESTS / f"{name}.yml")["tests"]
    looks: list[dict[str, Any]] = [look for test in tests for look in test["alert_rule_test"]]
    assert {look["alertname"] for look in looks} == {name}
    wanted = {True} if name in NEVER_SILENT else {True, False}
    assert {bool(look["exp_alerts"]) for look in looks} == wanted


def test_every_recording_rule_is_tried() -> None:
    tests = read_yaml(UNIT_TESTS / "recording.yml")["tests"]
    assert {look["expr"] for test in tests for look in test["promql_expr_test"]} == RECORDED.keys()


def test_no_unit_test_is_left_of_a_rule_that_is_gone() -> None:
    assert {path.stem for path in UNIT_TESTS.glob("*.yml")} == {*ALERTS, "recording"}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_names_a_symptom_says_what_to_do_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ({"none"} if name in NEVER_SILENT else {"critical", "warning"})
    assert rule["labels"]["service"] == "training-anomaly"
    assert "{{" not in rule["annotations"]["summary"]  # static: a text that changes is another alert
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == name.lower()
    sections = (REPOSITORY / path).read_text("utf-8").split("\n## ")
    (section,) = [each for each in sections if each.startswith(f"{name}\n")]
    assert re.findall(r"^\*\*(\w+)\.\*\*", section, re.MULTILINE) == [
        "Meaning", "Impact", "Diagnosis", "Mitigation",
    ]  # fmt: skip


def test_the_runbooks_are_of_alerts_that_exist() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(ALERTS)


def test_the_rules_ask_for_metrics_that_a_worker_or_a_notifier_has() -> None:
    known = {*RECORDED, *metric_names()}
    for expression in [*RECORDED.values(), *(rule["expr"] for rule in ALERTS.values())]:
        assert set(re.findall(r"\banomaly[\w:]*", re.sub(r'"[^"]*"', "", expression))) - known == set()


def metric_names() -> set[str]:
    registry = prometheus_client.CollectorRegistry()
    WorkerMetrics(registry, 1)
    NotifierMetrics(registry, ["oncall"], Reason)
    return {name for family in registry.collect() for name in (family.name, f"{family.name}_total")}


def test_what_the_alerts_pick_out_by_a_label_is_there_with_0_from_the_start() -> None:
    registry = prometheus_client.CollectorRegistry()
    NotifierMetrics(registry, ["oncall"], Reason)
    for outcome in ("failed", "fallback"):  # otherwise increase() would not see the first of them
        labels = {"receiver": "oncall", "outcome": outcome}
        assert registry.get_sample_value("anomaly_notify_deliveries_total", labels) == 0
