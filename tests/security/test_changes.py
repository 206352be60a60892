"""What changes while things run: passwords, tokens, certificates. Nothing that waited is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import pytest

from anomaly import Telemetry
from anomaly.connection import Connection
from anomaly.producer import Pacing
from anomaly.topics import Topics
from tests.hook.recording import read, wait_until
from tests.security.cluster import LEAVES_CONNECTIONS, SecureKafka, token
from tests.security.permissions import everything, keys, made, of_hook, of_worker
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step

SOON = Pacing(look=0.01, acknowledgement=5.0, first_backoff=0.05, longest_backoff=0.5, closing_backoff=0.05)
CERTIFICATE_SECONDS = 15.0
TOKEN_SECONDS = 10.0


pytestmark = LEAVES_CONNECTIONS


def write_anew(path: Path, text: str) -> None:
    """As a secret is replaced: whole, never half."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    os.replace(draft, path)


def steps_of(secure: SecureKafka, topics: Topics) -> set[float]:
    """The steps that arrived."""
    messages = [
        one.value for part in everything(Client(secure.bootstrap_servers), topics.telemetry) for one in part
    ]
    return {record.step for record in read(messages)}


class Job:
    """A training job that goes on stepping."""

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self.run = Telemetry("r1", connection=connection, topic_prefix=topics.prefix, pacing=SOON)
        self.steps = 0

    def count(self, name: str) -> int:
        """One more step, and what the hook counted so far."""
        self.run.step(self.steps, loss=1.0)
        self.steps += 1
        return self.run.stats()[name]

    def goes_on(self) -> None:
        """Return once some records more were acknowledged."""
        before = self.count("acknowledged")
        wait_until(lambda: self.count("acknowledged") > before + 10, 60)


def test_a_hook_whose_password_changes_goes_on_with_the_new_one_in_the_file(
    secure: SecureKafka, topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made(secure, topics)
    secure.allow(topics.prefix, of_hook(topics))
    first = secure.user(topics.prefix)
    path = tmp_path / "password"
    write_anew(path, first)
    job = Job(secure.connection("BRIEF", sasl_username=topics.prefix, sasl_password_file=str(path)), topics)
    job.goes_on()
    second = secure.user(topics.prefix, "changed-password-77aa")
    # The broker ends the connection after a while, and refuses the next one.
    wait_until(lambda: job.count("failures") > 0 and "the login was refused" in caplog.text, 60)
    write_anew(path, second)
    job.goes_on()
    assert job.run.close(30)
    assert steps_of(secure, topics) == set(range(job.steps))
    assert first not in caplog.text
    assert second not in caplog.text


def test_a_hook_with_tokens_takes_the_one_that_is_in_the_file_when_the_broker_ends_the_old_one(
    secure: SecureKafka, topics: Topics, tmp_path: Path
) -> None:
    made(secure, topics)
    secure.allow(topics.prefix, of_hook(topics))
    path = tmp_path / "token"
    write_anew(path, token(topics.prefix, TOKEN_SECONDS))
    expires = time.monotonic() + TOKEN_SECONDS
    job = Job(secure.connection("BRIEF", sasl_mechanism="OAUTHBEARER", sasl_token_file=str(path)), topics)
    job.goes_on()
    write_anew(path, token(topics.prefix))
    wait_until(lambda: job.count("recorded") > 0 and time.monotonic() > expires + 1, 60)
    job.goes_on()
    assert job.run.close(30)
    assert steps_of(secure, topics) == set(range(job.steps))


def test_a_hook_whose_certificate_expires_lives_on_its_connection_and_takes_the_renewed_one(
    secure: SecureKafka, topics: Topics
) -> None:
    made(secure, topics)
    user = f"client-{topics.prefix}"
    secure.allow(user, of_hook(topics))
    certificate, key = secure.authority.sign(user, CERTIFICATE_SECONDS)
    expires = time.monotonic() + CERTIFICATE_SECONDS
    connection = secure.connection("MUTUAL", tls_certificate_file=str(certificate), tls_key_file=str(key))
    job = Job(connection, topics)
    job.goes_on()
    wait_until(lambda: time.monotonic() > expires + 1, 60)
    failures = job.count("failures")
    job.goes_on()
    assert job.count("failures") == failures
    late = Job(connection, topics)  # a new connection with the expired certificate
    wait_until(lambda: late.count("failures") > 0, 60)
    secure.authority.sign(user)  # over the same files
    late.goes_on()
    assert late.run.close(30)
    assert job.run.close(30)


def test_a_worker_whose_connections_are_ended_again_and_again_goes_on_and_after_a_changed_password_too(
    secure: SecureKafka, topics: Topics, tmp_path: Path
) -> None:
    made(secure, topics)
    for acls in of_worker(topics).values():
        secure.allow(topics.prefix, acls)
    path = tmp_path / "password"
    write_anew(path, secure.user(topics.prefix))
    flags = [
        "--bootstrap-servers", secure.address("BRIEF"), "--security-protocol", "SASL_SSL",
        "--sasl-username", topics.prefix, "--sasl-password-file", str(path),
        "--tls-ca-file", str(secure.authority.ca), "--topic-prefix", topics.prefix,
    ]  # fmt: skip
    client = Client(secure.bootstrap_servers)

    def judged(run: str) -> None:
        asyncio.run(client.produce(topics.telemetry, [(run.encode(), step(run, 1, loss=1.0))]))
        eventually(f"{run} is judged and saved", lambda: run.encode() in keys(client, topics.changelog), 120)

    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        judged("before")
        write_anew(path, "changed-password-88bb")
        secure.user(topics.prefix, "changed-password-88bb")
        judged("after")
        assert set(worker.exit_codes) <= {69, 70, 75}  # and it was started again
        assert "changed-password-88bb" not in worker.text
