"""The Prometheus and the Alertmanager that other tests stand on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.monitoring_servers import Alertmanager, Prometheus, RecordingWebhook, Server
from tests.worker.processes import eventually

ALERT = {"labels": {"alertname": "Test"}}


def is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def config(folder: Path, text: object) -> Path:
    path = folder / "config.yml"
    path.write_text(json.dumps(text))  # JSON is YAML
    return path


def prometheus_here(folder: Path) -> Server:
    target = {"job_name": "itself", "scrape_interval": "1s", "static_configs": [{"targets": []}]}
    return Prometheus(folder, config(folder, {"scrape_configs": [target]}))


def alertmanager_here(folder: Path) -> Server:
    return Alertmanager(
        folder, config(folder, {"route": {"receiver": "none"}, "receivers": [{"name": "none"}]})
    )


@pytest.mark.usefixtures("monitoring")
@pytest.mark.parametrize("make", [prometheus_here, alertmanager_here])
def test_a_server_answers_on_a_port_of_its_own_and_is_gone_afterwards(
    make: Callable[[Path], Server], tmp_path: Path
) -> None:
    with make(tmp_path) as server:
        assert server.port not in (9090, 9093)
        assert server.get("/api/v1/status/buildinfo" if server.name == "prometheus" else "/api/v2/status")
        pid = server.pid
    assert is_gone(pid)


@pytest.mark.usefixtures("monitoring")
def test_prometheus_answers_queries(tmp_path: Path) -> None:
    with Prometheus(tmp_path, config(tmp_path, {})) as server:
        assert [each["value"][1] for each in server.query("vector(41) + 1")] == ["42"]
        with pytest.raises(AssertionError, match="parse error"):
            server.query("sum(")


@pytest.mark.usefixtures("monitoring")
def test_alertmanager_takes_alerts_and_tells_the_webhook(tmp_path: Path) -> None:
    with RecordingWebhook() as webhook:
        receiver = {"name": "hook", "webhook_configs": [{"url": f"{webhook.url}/here"}]}
        text = {"route": {"receiver": "hook", "group_wait": "0s"}, "receivers": [receiver]}
        with Alertmanager(tmp_path, config(tmp_path, text)) as server:
            server.post("/api/v2/alerts", [ALERT])
            eventually("the webhook is called", lambda: len(webhook.at("/here")) == 1)
            assert [each["labels"] for each in server.alerts()] == [ALERT["labels"]]
            assert webhook.received[0].body["alerts"][0]["labels"] == ALERT["labels"]
            with pytest.raises(AssertionError, match="400"):
                server.post("/api/v2/alerts", [{"labels": {"": "x"}}])


@pytest.mark.usefixtures("monitoring")
def test_a_server_that_does_not_start_fails_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="field nonsense not found"):
        Prometheus(tmp_path, config(tmp_path, {"nonsense": 1})).start()
