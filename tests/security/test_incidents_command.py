"""``anomaly incidents`` as a user with few permissions: each that is missing is named."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka.admin import AclOperation

from anomaly.cli import main
from anomaly.topics import Topics
from tests.commands.transitions import transition
from tests.security.cluster import SecureKafka, topic
from tests.security.logins import environment_and_flags
from tests.security.permissions import made
from tests.worker.topic_tools import Client


def test_each_acl_that_someone_on_call_lacks_is_named(
    secure: SecureKafka, topics: Topics, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(secure, topics)
    one = transition()
    asyncio.run(
        Client(secure.bootstrap_servers).produce(topics.incidents, [(one.run.encode(), one.encode())])
    )
    connection = secure.connection(sasl_username=topics.prefix, sasl_password=secure.user(topics.prefix))
    flags = [*environment_and_flags(connection, monkeypatch), "--topic-prefix", topics.prefix]

    def told(*arguments: str) -> tuple[int, str]:
        code = main(["incidents", *arguments, *flags])
        return code, capsys.readouterr().err

    may_not = "may not be read; allow this user READ on that topic"
    assert told("list") == (2, f"anomaly: topic {topics.incidents} {may_not}\n")
    secure.allow(topics.prefix, topic(topics.incidents, AclOperation.READ))
    assert told("list") == (2, f"anomaly: topic {topics.incident_actions} {may_not}\n")
    secure.allow(topics.prefix, topic(topics.incident_actions, AclOperation.READ))
    assert told("list")[0] == 0
    code, said = told("ack", one.incident, "--why", "on it")
    assert code == 2
    assert f"topic {topics.incident_actions}" in said
    assert "allow" in said
    assert "WRITE" in said
    secure.allow(topics.prefix, topic(topics.incident_actions, AclOperation.WRITE))
    assert told("ack", one.incident, "--why", "on it")[0] == 0
