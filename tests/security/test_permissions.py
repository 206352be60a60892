"""The listed ACLs are enough, and each that is missing is named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation

from anomaly import Telemetry
from anomaly.cli import main
from anomaly.errors import PreflightError
from anomaly.producer import Pacing
from anomaly.settings import Settings
from anomaly.topics import Topics
from anomaly.worker.preflight import preflight
from tests.hook.recording import wait_until
from tests.security.cluster import SecureKafka, group, token, topic
from tests.security.logins import environment_and_flags
from tests.security.permissions import (
    PARTITIONS,
    keys,
    made,
    of_hook,
    of_worker,
    of_worker_that_creates,
    settings_for,
    values,
)
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step

SOON = Pacing(look=0.01, acknowledgement=10.0, first_backoff=0.05, longest_backoff=0.2, closing_backoff=0.05)


def refusal(settings: Settings) -> str:
    with pytest.raises(PreflightError) as caught:
        asyncio.run(preflight(settings))
    assert str(settings.sasl_password) not in str(caught.value)
    return str(caught.value)


def test_a_hook_that_may_write_telemetry_and_nothing_else_works(secure: SecureKafka, topics: Topics) -> None:
    made(secure, topics)
    password = secure.user(topics.prefix)
    secure.allow(topics.prefix, of_hook(topics))
    connection = secure.connection(sasl_username=topics.prefix, sasl_password=password)
    with Telemetry("r1", connection=connection, topic_prefix=topics.prefix) as run:
        run.step(1, loss=1.0)
    assert run.stats()["waiting"] == 0
    found = asyncio.run(Client(secure.bootstrap_servers).read(topics.telemetry, PARTITIONS))
    assert sum(map(len, found.values())) >= 1


def test_a_hook_without_that_says_which_is_missing_and_sends_what_waited_once_it_is_there(
    secure: SecureKafka, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    made(secure, topics)
    password = secure.user(topics.prefix)
    connection = secure.connection(sasl_username=topics.prefix, sasl_password=password)
    run = Telemetry("r1", connection=connection, topic_prefix=topics.prefix, pacing=SOON)
    run.step(1, loss=1.0)
    wait_until(lambda: run.stats()["failures"] >= 1)
    assert "allow it WRITE" in caplog.text
    secure.allow(topics.prefix, of_hook(topics))
    wait_until(lambda: run.stats()["acknowledged"] == 1, 60)
    assert run.close(30)


def test_a_script_that_just_ends_has_logged_in_and_sent_everything(
    secure: SecureKafka, topics: Topics
) -> None:
    made(secure, topics)
    password = secure.user(topics.prefix)
    secure.allow(topics.prefix, of_hook(topics))
    program = 'from anomaly import Telemetry\nTelemetry("r1").step(1, loss=1.0)'
    environment = {
        **os.environ, "PYTHONPATH": os.getcwd(), "ANOMALY_TOPIC_PREFIX": topics.prefix,
        "ANOMALY_BOOTSTRAP_SERVERS": secure.address("LOGIN"), "ANOMALY_SECURITY_PROTOCOL": "SASL_SSL",
        "ANOMALY_SASL_USERNAME": topics.prefix, "ANOMALY_SASL_PASSWORD": password,
        "ANOMALY_TLS_CA_FILE": str(secure.authority.ca),
    }  # fmt: skip
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = asyncio.run(Client(secure.bootstrap_servers).read(topics.telemetry, PARTITIONS))
    assert sum(map(len, found.values())) >= 1


def test_each_acl_that_a_worker_lacks_is_named(secure: SecureKafka, topics: Topics) -> None:
    made(secure, topics)
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    needed = of_worker(topics)
    for acls in needed.values():
        secure.allow(topics.prefix, acls)
    assert asyncio.run(preflight(settings)) == PARTITIONS
    for name, acls in needed.items():
        secure.forbid(topics.prefix, acls)
        _, resource, operation = acls[0]
        text = refusal(settings)
        assert resource in text, name
        if name not in ("deadletter WRITE", "incident-actions DESCRIBE"):
            assert f"allow it {operation.name}" in text, name
            assert len(text.splitlines()) == 1, name
        else:  # nothing else lets it see that topic: hidden from it, it is as if it were not there
            assert "are missing, or hidden from this worker" in text, name
            assert "--command-config client.properties --create" in text
        secure.allow(topics.prefix, acls)


def test_describing_a_group_is_not_enough_to_join_it(secure: SecureKafka, topics: Topics) -> None:
    made(secure, topics)
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    for name, acls in of_worker(topics).items():
        if name != "group READ":
            secure.allow(topics.prefix, acls)
    secure.allow(topics.prefix, group(topics.consumer_group, AclOperation.DESCRIBE))
    assert refusal(settings).endswith("allow it READ on that group")


def test_a_worker_that_may_write_nowhere_is_told_so(secure: SecureKafka, topics: Topics) -> None:
    made(secure, topics)
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    secure.allow(topics.prefix, topic(f"{topics.prefix}.*", AclOperation.READ))
    secure.allow(topics.prefix, of_worker(topics)["group READ"])
    assert (
        refusal(settings) == f"this worker may write to no topic at all; allow it WRITE on {topics.prefix}.*"
    )


def test_a_worker_with_create_on_its_prefix_makes_its_topics(secure: SecureKafka, topics: Topics) -> None:
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    text = refusal(settings)
    assert "allow it CREATE on topics that start with" in text
    secure.allow(topics.prefix, of_worker_that_creates(topics))
    assert asyncio.run(preflight(settings)) == PARTITIONS


def test_a_worker_with_what_is_listed_works_and_one_that_loses_some_of_it_stops_and_loses_nothing(
    secure: SecureKafka, topics: Topics, tmp_path: Path
) -> None:
    made(secure, topics)
    password = secure.user(topics.prefix)
    (tmp_path / "password").write_text(password + "\n")
    needed = of_worker(topics)
    for acls in needed.values():
        secure.allow(topics.prefix, acls)
    flags = [
        "--bootstrap-servers", secure.address("LOGIN"), "--security-protocol", "SASL_SSL",
        "--sasl-username", topics.prefix, "--sasl-password-file", str(tmp_path / "password"),
        "--tls-ca-file", str(secure.authority.ca), "--topic-prefix", topics.prefix, "--log-level", "debug",
    ]  # fmt: skip
    client = Client(secure.bootstrap_servers)
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        asyncio.run(client.produce(topics.telemetry, [(b"r1", step("r1", 1, loss=1.0))]))
        eventually("its state is saved", lambda: b"r1" in keys(client, topics.changelog))
        secure.forbid(topics.prefix, needed["changelog WRITE"])
        asyncio.run(client.produce(topics.telemetry, [(b"r1", b'{"run":"r1","step":2,"loss":NaN}')]))
        assert worker.wait() == 2
        assert f"may not write to topic {topics.changelog}; allow it WRITE" in worker.text
    assert password not in worker.text
    secure.allow(topics.prefix, needed["changelog WRITE"])
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        eventually("the incident is there", lambda: b"r1" in keys(client, topics.incidents))
        assert password not in worker.text
    (incident,) = values(client, topics.incidents)
    assert json.loads(incident)["kind"] == "nonfinite_loss"


@pytest.mark.parametrize("lost", ["telemetry READ", "incidents WRITE", "group READ"])
def test_a_running_worker_that_loses_a_permission_loses_nothing_and_says_which_when_started_again(
    secure: SecureKafka, topics: Topics, lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = of_worker(made(secure, topics))
    for acls in needed.values():
        secure.allow(topics.prefix, acls)
    connection = secure.connection(sasl_username=topics.prefix, sasl_password=secure.user(topics.prefix))
    flags = [*environment_and_flags(connection, monkeypatch), "--topic-prefix", topics.prefix]
    client = Client(secure.bootstrap_servers)
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        secure.forbid(topics.prefix, needed[lost])
        asyncio.run(client.produce(topics.telemetry, [(b"r1", b'{"run":"r1","step":1,"loss":NaN}')]))
        assert worker.wait() == 2
        assert worker.exit_codes == [70, 2]
        assert f"allow it {needed[lost][0][2].name} on that" in worker.text
    ends = asyncio.run(client.read(topics.telemetry, PARTITIONS))
    (home,) = [partition for partition, records in ends.items() if b"r1" in [one.key for one in records]]
    is_committed = asyncio.run(client.committed(topics, PARTITIONS))[home] > ends[home][-1].offset
    assert not is_committed or b"r1" in keys(client, topics.incidents)


@pytest.mark.parametrize("command", [("tail",), ("runs", "list")])
def test_a_command_whose_user_may_not_read_says_so_instead_of_waiting(
    secure: SecureKafka, topics: Topics, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made(secure, topics)
    connection = secure.connection(sasl_username=topics.prefix, sasl_password=secure.user(topics.prefix))
    flags = [*environment_and_flags(connection, monkeypatch), "--topic-prefix", topics.prefix]
    assert main([*command, *flags]) == 2
    name = topics.incidents if command == ("tail",) else topics.changelog
    assert f"topic {name} may not be read; allow this user READ on that topic" in capsys.readouterr().err
    if command == ("runs", "list"):
        secure.allow(topics.prefix, topic(name, AclOperation.READ))
        assert main([*command, *flags]) == 0


@pytest.mark.parametrize("way", ["token", "certificate"])
def test_a_worker_logs_in_by_token_and_by_certificate(
    secure: SecureKafka, topics: Topics, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for acls in of_worker(made(secure, topics)).values():
        secure.allow(topics.prefix, acls)
    if way == "token":
        (tmp_path / "token").write_text(token(topics.prefix))
        connection = secure.connection(sasl_mechanism="OAUTHBEARER", sasl_token_file=str(tmp_path / "token"))
    else:
        certificate, key = secure.authority.sign(topics.prefix)
        connection = secure.connection("MUTUAL", tls_certificate_file=str(certificate), tls_key_file=str(key))
    flags = [*environment_and_flags(connection, monkeypatch), "--topic-prefix", topics.prefix]
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        assert token(topics.prefix).partition(".")[0] not in worker.text
