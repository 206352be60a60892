"""From a training loop to a person: a real model with a fault, the real hook, Kafka, worker, notifier, Alertmanager and
Prometheus; only who is paged at the end is a recorder.
"""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from anomaly.torch import Watch, watch
from tests.conftest import available
from tests.deploy.files import scrape_config
from tests.deploy.office import Office
from tests.install_servers import prometheus
from tests.kafka_servers import ApacheKafka
from tests.monitoring_servers import Prometheus
from tests.worker.processes import NotifierProcess, WorkerProcess, eventually

LONG = 120.0
PROMISED_SECONDS = 2.0
"""From the step with the fault to the alert in Alertmanager and the page at its receiver."""
FAULT_STEP = 60
STEPS = 400
STEP_SECONDS = 0.02


@dataclass(frozen=True)
class Scene:
    """All that runs."""

    office: Office
    prometheus: Prometheus
    servers: str
    prefix: str

    def train(self, run: str) -> float:
        """Train; one batch is NaN, and its update is skipped, as a careful loop does. When that step was, monotonic."""
        torch.manual_seed(len(run))
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        faulty = 0.0
        pause = threading.Event()
        tags = {"team": "language", "owner": "ana"}
        with watch(
            model, optimizer, run=run, tags=tags, bootstrap_servers=self.servers, topic_prefix=self.prefix
        ) as watched:
            for step in range(STEPS):
                pause.wait(STEP_SECONDS)
                faulty = time.monotonic() if step == FAULT_STEP else faulty
                _train_step(watched, model, optimizer, math.nan if step == FAULT_STEP else 1.0)
        return faulty

    def alerts(self, run: str) -> list[dict[str, Any]]:
        """What Alertmanager has of this run."""
        return self.office.server.alerts(filter=f'run="{run}"')


def _train_step(watched: Watch, model: nn.Module, optimizer: torch.optim.Optimizer, factor: float) -> None:
    inputs = torch.randn(16, 8)
    loss = factor * (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    if math.isfinite(watched.clip_grad_norm_(1.0)):
        optimizer.step()
    watched.step(loss)


class Looking(threading.Thread):
    """Waits for a run's first alert: `alerts` as they were then, `since` when, monotonic."""

    def __init__(self, scene: Scene, run: str) -> None:
        super().__init__(daemon=True)
        self._scene = scene
        self._run = run
        self.alerts: list[dict[str, Any]] = []
        self.since = math.nan

    def run(self) -> None:
        eventually("the alert is there", self._is_there, LONG)
        self.since = time.monotonic()

    def _is_there(self) -> bool:
        self.alerts = self._scene.alerts(self._run)
        return bool(self.alerts)


@pytest.fixture(scope="module")
def scene(
    apache_kafka: ApacheKafka,
    office: Office,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    available(request.config, prometheus)
    folder, prefix = tmp_path_factory.mktemp("scene"), f"scene-{secrets.token_hex(4)}"
    servers = apache_kafka.bootstrap_servers
    settings = {"bootstrap_servers": servers, "topic_prefix": prefix, "partitions": 2}
    receiver = f'[[receivers]]\nname = "alerts"\ntype = "alertmanager"\nurls = ["{office.server.url}"]\n'
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    (folder / "anomaly.toml").write_text(lines + receiver)
    with WorkerProcess(folder) as worker, NotifierProcess(folder) as notifier:
        worker.wait_ready(LONG)
        notifier.wait_ready(LONG)
        addresses = {
            "worker:9464": worker.address.removeprefix("http://"),
            "notifier:9465": notifier.address.removeprefix("http://"),
        }
        with Prometheus(folder, scrape_config(folder, addresses)) as server:
            yield Scene(office, server, servers, prefix)


def test_a_fault_is_one_alert_and_one_page_within_two_seconds_and_its_end_is_told(scene: Scene) -> None:
    looking = Looking(scene, "told")
    looking.start()
    faulty = scene.train("told")
    looking.join()
    (alert,) = looking.alerts
    assert alert["labels"]["alertname"] == "TrainingAnomaly"
    assert (alert["labels"]["severity"], alert["labels"]["team"]) == ("critical", "language")
    assert str(FAULT_STEP) in alert["annotations"]["summary"]
    scene.office.wait_for("oncall", LONG, count=2, run="told")
    page, end = (each for each in scene.office.webhook.at("/oncall") if _is_of(each.body, "told"))
    assert (page.body["status"], end.body["status"]) == ("firing", "resolved")
    print(f"fault to alert {looking.since - faulty:.3f} s, to page {page.monotonic - faulty:.3f} s")
    assert looking.since - faulty < PROMISED_SECONDS
    assert page.monotonic - faulty < PROMISED_SECONDS


def test_a_silence_of_the_teams_own_is_respected(scene: Scene) -> None:
    matcher = {"name": "run", "value": "silenced", "isRegex": False, "isEqual": True}
    times = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z"}
    scene.office.server.post(
        "/api/v2/silences", {"matchers": [matcher], "createdBy": "ana", "comment": "known", **times}
    )
    looking = Looking(scene, "silenced")
    looking.start()
    scene.train("silenced")
    looking.join()
    (alert,) = looking.alerts
    assert alert["status"]["state"] == "suppressed"
    scene.train("loud")
    scene.office.wait_for("oncall", LONG, run="loud")
    assert scene.office.messages("oncall", run="silenced") == []


def test_prometheus_sees_the_deliveries(scene: Scene) -> None:
    delivered = 'sum(anomaly_notify_deliveries_total{outcome="delivered",receiver="alerts"}) >= 1'
    eventually(delivered, lambda: bool(scene.prometheus.query(delivered)), LONG)


def _is_of(message: dict[str, Any], run: str) -> bool:
    return any(one["labels"].get("run") == run for one in message["alerts"])
