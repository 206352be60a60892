"""Grafana's dashboards: fresh, and every query of theirs has data on a real Prometheus that watched real trainings."""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anomaly.notify.links import Links
from deploy.grafana.__main__ import FOLDER, dashboards
from tests.conftest import available
from tests.deploy.files import DEPLOY, read_yaml, scrape_config
from tests.deploy.trainings import FAULTY, HEALTHY, SILENT, Trainings
from tests.install_servers import alertmanager, prometheus
from tests.kafka_servers import ApacheKafka
from tests.monitoring_servers import Alertmanager, Prometheus
from tests.notify.pages import nan_gradient
from tests.worker.processes import NotifierProcess, WorkerProcess, eventually

BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in dashboards().items()}
LONG = 300.0


@dataclass(frozen=True)
class Panel:
    """One panel with one of its queries."""

    board: str
    title: str
    kind: str
    target: dict[str, Any]

    def expression(self, run: str) -> str:
        """PromQL as Grafana would send it with this run chosen."""
        values = {"$__rate_interval": "10s", "$__interval": "5s", "$run": run}
        text: str = self.target["expr"]
        for name, value in values.items():
            text = text.replace(name, value)
        assert "$" not in text, f"a variable that this test does not know: {text}"
        return text

    @property
    def labels(self) -> set[str]:
        """What its legend, or its table, takes from the series' labels."""
        return set(re.findall(r"\{\{(\w+)\}\}", self.target["legendFormat"]))


PANELS = [
    Panel(name, panel["title"], panel["type"], target)
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel.get("targets", [])
]


@dataclass(frozen=True)
class Watched:
    """A Prometheus that scraped a worker while runs were trained, and since when."""

    server: Prometheus
    began: float

    def values(self, panel: Panel) -> list[tuple[dict[str, str], list[float]]]:
        """The numbers a panel shows, by series: of the faulty run, or where it has none of the healthy one."""
        return self._values(panel, FAULTY) or self._values(panel, HEALTHY)

    def _values(self, panel: Panel, run: str) -> list[tuple[dict[str, str], list[float]]]:
        expression = panel.expression(run)
        if panel.target["instant"]:
            found = [(each["metric"], [each["value"]]) for each in self.server.query(expression)]
        else:
            times = {"start": f"{self.began:.0f}", "end": f"{time.time():.0f}", "step": "2"}
            answer = self.server.get("/api/v1/query_range", query=expression, **times)
            found = [(each["metric"], each["values"]) for each in answer["data"]["result"]]
        return [
            (labels, numbers)
            for labels, pairs in found
            if (numbers := [float(text) for _, text in pairs if not math.isnan(float(text))])
        ]


@pytest.fixture(scope="module")
def watched(
    apache_kafka: ApacheKafka, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    available(request.config, prometheus)
    available(request.config, alertmanager)
    folder, began = tmp_path_factory.mktemp("watched"), time.time()
    servers, prefix = apache_kafka.bootstrap_servers, f"boards-{secrets.token_hex(4)}"
    flags = ["--bootstrap-servers", servers, "--topic-prefix", prefix, "--partitions", "2"]
    silent = folder / "alertmanager.yml"
    silent.write_text('{"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}')
    with Alertmanager(folder, silent) as alerts, WorkerProcess(folder, *flags) as worker:
        worker.wait_ready()
        with notifier(folder / "notifier", servers, prefix, alerts) as pages:
            pages.wait_ready()
            addresses = {"worker:9464": worker, "notifier:9465": pages}
            config = scrape_config(
                folder,
                {name: each.address.removeprefix("http://") for name, each in addresses.items()}
                | {"alertmanager:9093": alerts.address},
            )
            with Prometheus(folder, config) as server:
                eventually(
                    "a scrape of both",
                    partial(has_data, server, "anomaly_ready + on () anomaly_notify_ready == 2"),
                    LONG,
                )
                with Trainings(servers, prefix):
                    wait_for_all(server)
                    yield Watched(server, began)


def notifier(folder: Path, servers: str, prefix: str, alerts: Alertmanager) -> NotifierProcess:
    """A notifier with one receiver, this Alertmanager."""
    folder.mkdir()
    (folder / "anomaly.toml").write_text(f"""
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[[receivers]]
name = "alertmanager"
type = "alertmanager"
urls = ["{alerts.url}"]
""")
    return NotifierProcess(folder)


def wait_for_all(server: Prometheus) -> None:
    for expression in (
        f'anomaly_run_steps_per_second{{run="{HEALTHY}"}} > 0',
        f'anomaly_incidents_open{{run="{FAULTY}",severity="critical"}} > 0',
        f'anomaly_incident_opened_timestamp_seconds{{run="{SILENT}",kind="run_silent"}}',
        'anomaly_runs_in_phase{phase="finished"} == 1',
        "sum(increase(anomaly_incident_latency_seconds_count[1h])) > 0",
        "sum(increase(anomaly_notify_delivery_seconds_count[1h])) > 0",
    ):
        eventually(expression, partial(has_data, server, expression), LONG)


def has_data(server: Prometheus, expression: str) -> bool:
    return bool(server.query(expression))


def test_the_json_is_what_the_python_makes_now() -> None:
    assert {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")} == dashboards(), (
        "run python -m deploy.grafana"
    )


@pytest.mark.parametrize(
    "panel", PANELS, ids=lambda each: f"{each.board}:{each.title}:{each.target['refId']}"
)
def test_a_query_has_data(panel: Panel, watched: Watched) -> None:
    series = watched.values(panel)
    assert series, panel.target["expr"]
    for labels, _ in series:
        assert panel.labels <= labels.keys()


@pytest.mark.parametrize("name", BOARDS)
def test_what_a_table_shows_are_labels_and_values_of_its_queries(name: str, watched: Watched) -> None:
    for panel in (each for each in BOARDS[name]["panels"] if each["type"] == "table"):
        (kept,) = (each for each in panel["transformations"] if each["id"] == "filterFieldsByName")
        targets = [Panel(name, panel["title"], "table", target) for target in panel["targets"]]
        known = {f"Value #{each.target['refId']}" for each in targets} if len(targets) > 1 else {"Value"}
        for target in targets:
            known |= watched.values(target)[0][0].keys()
        assert set(kept["options"]["include"]["names"]) <= known


def test_every_variable_has_values(watched: Watched) -> None:
    asked = [each for board in BOARDS.values() for each in board["templating"]["list"]]
    assert {each["type"] for each in asked} == {"datasource", "query"}
    for variable in (each for each in asked if each["type"] == "query"):
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        assert match is not None
        answer = watched.server.get(f"/api/v1/label/{match[2]}/values", **{"match[]": match[1]})
        assert {HEALTHY, FAULTY} <= set(answer["data"])


def test_the_incidents_are_annotations_of_their_run(watched: Watched) -> None:
    annotations = [each for board in BOARDS.values() for each in board.get("annotations", {}).get("list", [])]
    (incidents,) = annotations
    panel = Panel("one-run.json", "annotation", "", {"expr": incidents["expr"], "instant": False})
    kinds = {labels["kind"] for labels, _ in watched.values(panel)}
    assert any(kind.startswith("nonfinite") for kind in kinds)
    assert incidents["titleFormat"] == "{{kind}}"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_read(name: str) -> None:
    board = BOARDS[name]
    panels = [each for each in board["panels"] if each["type"] != "row"]
    assert all(each["title"] and each["description"] for each in panels)
    assert len({each["id"] for each in board["panels"]}) == len(board["panels"])
    places = [each["gridPos"] for each in board["panels"]]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)  # nothing lies on another
    assert max(x for x, _ in cells) < 24


def test_links_between_dashboards_lead_to_one_that_exists() -> None:
    uids = {board["uid"] for board in BOARDS.values()}
    assert len(uids) == len(BOARDS)
    text = json.dumps(BOARDS)
    assert set(re.findall(r'"/d/([\w-]+)', text)) <= uids
    links = Links("https://grafana.lab.org")
    for address in (links.grafana(nan_gradient()), links.fleet()):
        assert re.split(r"[/?]", address)[4] in uids


def test_grafana_finds_the_dashboards_and_prometheus_by_itself() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = read_yaml(folder / "datasources" / "prometheus.yml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    scrape = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape
    (provider,) = read_yaml(folder / "dashboards" / "anomaly.yml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
