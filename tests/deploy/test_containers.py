"""The containers of deploy/compose.yaml and their image, checked as far as a machine without an engine can."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from anomaly.broker import HOST, free_port
from anomaly.settings_sources import load
from tests.conftest import available
from tests.deploy.files import DEPLOY, read_yaml
from tests.install_servers import docker_compose
from tests.kafka_servers import ApacheKafka
from tests.repository import REPOSITORY

COMPOSE = read_yaml(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("worker", "notifier", "job")
DEMO = tomllib.loads((DEPLOY / "demo" / "anomaly.toml").read_text("utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
# Where the programs of others listen when nobody tells them otherwise, as these images do.
DEFAULT_PORTS = {"prometheus": {9090}, "alertmanager": {9093}, "grafana": {3000}, "inbox": {1025, 8025}}


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


LISTENS: dict[str, set[int]] = DEFAULT_PORTS | {
    "kafka": {port_of(each) for each in SERVICES["kafka"]["environment"]["KAFKA_LISTENERS"].split(",")},
    "worker": {port_of(DEMO["metrics_address"])},
    "notifier": {port_of(DEMO["notify_metrics_address"])},
}


def test_compose_takes_the_file(request: pytest.FixtureRequest) -> None:
    command = [
        available(request.config, docker_compose),
        "-f",
        str(DEPLOY / "compose.yaml"),
        "config",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_exists(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            assert (DEPLOY / source).exists()
            assert volume.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
        assert target.startswith("/")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_ports_are_local_and_services_come_back(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def texts() -> dict[str, str]:
    """What names other containers."""
    named = {
        "prometheus.yml": (DEPLOY / "prometheus" / "prometheus.yml").read_text(),
        "demo.yml": (DEPLOY / "alertmanager" / "demo.yml").read_text(),
        "datasource": (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text(),
        "anomaly.toml": (DEPLOY / "demo" / "anomaly.toml").read_text(),
        "job": SERVICES["job"]["environment"]["ANOMALY_BOOTSTRAP_SERVERS"],
        "kafka": SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"],
        "voters": SERVICES["kafka"]["environment"]["KAFKA_CONTROLLER_QUORUM_VOTERS"],
    }
    return {name: re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE) for name, text in named.items()}


@pytest.mark.parametrize("name", texts())
def test_a_host_that_is_named_is_a_service_and_listens_on_the_port(name: str) -> None:
    named = re.findall(r"([a-z][a-z-]*):(\d{4,5})\b", texts()[name])
    assert named
    for host, port in named:
        if host == "localhost":  # as a browser or a job of this machine sees it
            assert int(port) in published()
        else:
            assert int(port) in LISTENS[host], f"{host}:{port}"


def published() -> dict[int, tuple[str, int]]:
    """Port on this machine: the service behind it, and its own port."""
    found = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            _, outside, inside = port.split(":")
            found[int(outside)] = name, int(inside)
    return found


def test_published_ports_lead_to_something_and_are_those_that_are_written_above_and_in_the_guide() -> None:
    assert all(port in LISTENS[name] for name, port in published().values())
    head = (DEPLOY / "compose.yaml").read_text("utf-8").partition("x-anomaly")[0]
    guide = (REPOSITORY / "docs" / "deploy.md").read_text("utf-8")
    for text in (head, guide):
        assert {int(port) for port in re.findall(r"localhost:(\d+)", text)} == published().keys()


def test_every_container_of_ours_is_looked_at_on_its_own_port() -> None:
    assert f"127.0.0.1:{port_of(DEMO['metrics_address'])}/readyz" in DOCKERFILE
    test = SERVICES["notifier"]["healthcheck"]["test"][-1]
    assert f"127.0.0.1:{port_of(DEMO['notify_metrics_address'])}/readyz" in test
    for name in OURS:
        for other, how in SERVICES[name]["depends_on"].items():
            assert how == {"condition": "service_healthy"}
            assert other in OURS or "healthcheck" in SERVICES[other]


def test_the_demonstrations_settings_are_valid() -> None:
    settings = load({"config": str(DEPLOY / "demo" / "anomaly.toml")}, {}).settings
    assert settings.metrics_address == DEMO["metrics_address"]


def test_the_image_runs_without_rights_and_has_a_healthcheck() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER anomaly\n" in final
    assert "\nHEALTHCHECK " in final
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.search(r":\d+\.\d+\.\d+-slim", base) for base in bases)


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split("\n")
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == let_through
    assert [each for each in copied if not (REPOSITORY / each).exists()] == []
    assert "*" in ignored
    assert not any(fnmatch.fnmatch(".venv", each) for each in let_through)


def test_the_image_installs_extras_that_exist() -> None:
    named = re.search(r'pip install --no-cache-dir "\.\[([\w,]+)\]"', DOCKERFILE)
    assert named is not None
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(named[1].split(",")) <= project["optional-dependencies"].keys()


def test_a_real_broker_starts_with_the_settings_of_the_container(available_apache_kafka: None) -> None:
    inside, controller, host = free_port(), free_port(), free_port()
    moved = {"9092": inside, "9093": controller, "29092": host}
    settings = {}
    for name, value in SERVICES["kafka"]["environment"].items():
        text = re.sub(r":(9092|9093|29092)\b", lambda found: f":{moved[found[1]]}", value)
        text = text.replace("kafka:", f"{HOST}:").replace("://:", f"://{HOST}:")
        settings[name.removeprefix("KAFKA_").lower().replace("_", ".")] = text
    settings["log.dirs"] = "{directory}/data-0"
    cluster = ApacheKafka(settings=settings)
    cluster.ports[0] = inside
    with cluster:
        admin = AdminClient({"bootstrap.servers": f"{HOST}:{host}"})
        admin.create_topics([NewTopic("t", 4)])["t"].result(30)
        (broker,) = admin.list_topics(timeout=30).brokers.values()
        assert f"{broker.host}:{broker.port}" == f"localhost:{host}"
