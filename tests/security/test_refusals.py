"""What Kafka refuses at the door is one sentence with what to do, the same for hook, worker and commands."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from anomaly import Telemetry
from anomaly.broker import free_port
from anomaly.cli import main
from anomaly.connection import Connection
from anomaly.errors import KafkaUnreachableError, PreflightError
from anomaly.producer import Pacing
from anomaly.reading import TopicReader
from anomaly.worker.preflight import preflight
from tests.hook.recording import wait_until
from tests.security.certificates import Authority
from tests.security.cluster import LEAVES_CONNECTIONS, PLAIN_PASSWORD, PLAIN_USER, SecureKafka, token
from tests.security.logins import environment_and_flags, settings_of
from tests.worker.processes import WorkerProcess

SECRET = "wrong-password-51c0"
LOGIN = {"sasl_username": "somebody", "sasl_password": SECRET}
SOON = Pacing(look=0.01, acknowledgement=5.0, first_backoff=0.05, longest_backoff=0.2, closing_backoff=0.05)


@dataclass(frozen=True)
class Row:
    """A way to fail: how the client connects, the words of the sentence, the exit code, what the hook says if it
    cannot know as much.
    """

    connect: Callable[[SecureKafka], Connection]
    says: str
    code: int
    hook_says: str = ""


def own_certificate(secure: SecureKafka, authority: Authority, seconds: float) -> Connection:
    certificate, key = authority.sign(f"client-{seconds:g}", seconds)
    return secure.connection("MUTUAL", tls_certificate_file=str(certificate), tls_key_file=str(key))


def expired_token(secure: SecureKafka) -> Connection:
    path = secure.folder / "expired-token"
    path.write_text(token("somebody", seconds=-60))
    return secure.connection(sasl_mechanism="OAUTHBEARER", sasl_token_file=str(path))


def stranger(secure: SecureKafka) -> Authority:
    return Authority(secure.folder, "nobody knows me")


CLOSED = "its listener wants another security_protocol, or a certificate that it did not get"
OUR_CERTIFICATE = "the broker refused our certificate; give one in tls_certificate_file that is valid now"
ROWS = {
    "wrong password": Row(lambda at: at.connection(**LOGIN), "the login was refused; correct sasl_username", 2),
    "wrong password, unencrypted": Row(lambda at: at.connection("BARE", **LOGIN), "the login was refused", 2),
    "wrong password, PLAIN": Row(
        lambda at: at.connection(sasl_mechanism="PLAIN", **{**LOGIN, "sasl_username": PLAIN_USER}),
        "the login was refused", 2,
    ),
    "mechanism not offered": Row(
        lambda at: at.connection(sasl_mechanism="SCRAM-SHA-256", **LOGIN), "does not offer this sasl_mechanism", 2
    ),
    "expired token": Row(
        expired_token, "the token was refused; see that the file of sasl_token_file", 2, "refused the login by token"
    ),
    "unknown authority": Row(
        lambda at: at.connection(**LOGIN, tls_ca_file=str(stranger(at).ca)), "signed by no authority in tls_ca_file", 2
    ),
    "authority not among the system's": Row(
        lambda at: at.connection(**LOGIN, tls_ca_file=""), "if empty: the system's", 2
    ),
    "wrong host name": Row(lambda at: at.connection("ELSEWHERE"), "certificate is for another host name", 2),
    "broker's certificate expired": Row(lambda at: at.connection("EXPIRED"), "has expired; renew it there", 69),
    "no client certificate": Row(lambda at: at.connection("MUTUAL"), OUR_CERTIFICATE, 2, CLOSED),
    "client certificate expired": Row(
        lambda at: own_certificate(at, at.authority, -60), OUR_CERTIFICATE, 2, CLOSED
    ),
    "client certificate unknown": Row(
        lambda at: own_certificate(at, stranger(at), 60), OUR_CERTIFICATE, 2, CLOSED
    ),
    "login where none is taken": Row(
        lambda at: Connection(at.bootstrap_servers, "SASL_PLAINTEXT", **LOGIN), "takes no login; give", 2
    ),
    "TLS where there is none": Row(
        lambda at: Connection(at.bootstrap_servers, "SSL"), CLOSED, 69
    ),
    "no TLS where it is needed": Row(lambda at: Connection(at.address("LOGIN")), CLOSED, 69),
    "no login where one is needed": Row(lambda at: Connection(at.address("BARE")), CLOSED, 69),
    "closed port": Row(lambda at: Connection(f"127.0.0.1:{free_port()}"), "start it, or correct bootstrap_servers", 69,
                       "Connect call failed"),
}  # fmt: skip


pytestmark = LEAVES_CONNECTIONS


@pytest.mark.parametrize("name", ROWS)
def test_the_worker_and_the_commands_say_what_is_wrong_and_what_to_do(secure: SecureKafka, name: str) -> None:
    row = ROWS[name]
    connection = row.connect(secure)
    expected = PreflightError if row.code == 2 else KafkaUnreachableError

    async def read() -> None:
        async with TopicReader(connection) as reader:
            await reader.partitions("any")

    for ask in (lambda: preflight(settings_of(connection)), read):
        with pytest.raises(expected) as caught:
            asyncio.run(ask())
        assert row.says in str(caught.value)
        assert connection.bootstrap_servers in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ROWS)
def test_the_hook_says_it_and_keeps_the_records(
    secure: SecureKafka, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    row = ROWS[name]
    run = Telemetry("r1", connection=row.connect(secure), pacing=SOON)
    run.step(1, loss=1.0)
    wait_until(lambda: run.stats()["failures"] >= 1)
    assert not run.close(0.1)
    assert run.stats()["waiting"] == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(row.hook_says or row.says) in text for text in warnings if "cannot be sent" in text] == [True]
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("name", "code"), [("wrong password", 2), ("broker's certificate expired", 69)])
def test_the_worker_ends_with_the_exit_code_that_says_whether_to_restart_it(
    secure: SecureKafka, name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = environment_and_flags(ROWS[name].connect(secure), monkeypatch)
    with WorkerProcess(tmp_path, *flags, "--log-level", "debug", supervised=False) as worker:
        assert worker.wait() == code
        assert ROWS[name].says in worker.text
        assert "Traceback" not in worker.text
        assert SECRET not in worker.text


@pytest.mark.parametrize("command", [("tail",), ("runs", "list")])
@pytest.mark.parametrize(("name", "code"), [("wrong password", 2), ("broker's certificate expired", 69)])
def test_the_commands_end_with_the_same_exit_codes(
    secure: SecureKafka, name: str, code: int, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    flags = environment_and_flags(ROWS[name].connect(secure), monkeypatch)
    assert main([*command, *flags]) == code
    shown = capsys.readouterr()
    assert ROWS[name].says in shown.err
    assert "Traceback" not in shown.err
    assert SECRET not in shown.out + shown.err


def test_every_way_to_log_in_works(secure: SecureKafka) -> None:
    password = secure.user("welcome")
    path = secure.folder / "token"
    path.write_text(token("welcome") + "\n")
    ways = [
        secure.connection(sasl_username="welcome", sasl_password=password),
        secure.connection("BARE", sasl_username="welcome", sasl_password=password),
        secure.connection(sasl_mechanism="PLAIN", sasl_username=PLAIN_USER, sasl_password=PLAIN_PASSWORD),
        secure.connection(sasl_mechanism="OAUTHBEARER", sasl_token_file=str(path)),
        own_certificate(secure, secure.authority, 600),
    ]

    async def read(connection: Connection) -> None:
        async with TopicReader(connection) as reader:
            with pytest.raises(
                PreflightError, match="topic any may not be read"
            ):  # the login is in, without an ACL
                await reader.partitions("any")

    for connection in ways:
        asyncio.run(read(connection))


def test_metrics_that_others_can_reach_are_warned_of(tmp_path: Path) -> None:
    # An address that this machine does not have: the warning comes before the attempt.
    command = [sys.executable, "-m", "anomaly", "worker", "--metrics-address", "192.0.2.1:9464"]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "can be reached from other machines, and has neither password nor TLS" in done.stderr
