"""The demonstration without its containers: the job's faults become incidents, and arrive in the inbox as mail."""

from __future__ import annotations

import email.policy
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from anomaly.broker import HOST, free_port
from tests.conftest import Kafka, available
from tests.deploy.files import DEPLOY
from tests.install_servers import alertmanager
from tests.monitoring_servers import Alertmanager
from tests.repository import REPOSITORY
from tests.worker.processes import NotifierProcess, WorkerProcess, eventually

LONG = 180.0


class Inbox:
    """Keeps every mail."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        assert isinstance(envelope.content, bytes)
        mail = BytesParser(policy=email.policy.default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    def of(self, receiver: str) -> list[EmailMessage]:
        """The mails to one of Alertmanager's receivers."""
        return [mail for mail in self.mails if mail["To"] == f"{receiver}@lab.example"]


@pytest.fixture
def inbox(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Inbox, Alertmanager]]:
    """The inbox, and the Alertmanager of the demonstration that writes to it."""
    available(request.config, alertmanager)
    inbox, port = Inbox(), free_port()
    controller = Controller(inbox, hostname=HOST, port=port)
    controller.start()
    try:
        for name in ("demo.yml", "anomaly.tmpl"):
            text = (DEPLOY / "alertmanager" / name).read_text("utf-8")
            (tmp_path / name).write_text(text.replace("inbox:1025", f"{HOST}:{port}"))
        with Alertmanager(tmp_path, tmp_path / "demo.yml") as server:
            yield inbox, server
    finally:
        controller.stop()


@pytest.mark.kafka("apache")
def test_the_demonstrations_faults_arrive_as_mail_and_its_healthy_run_does_not(
    kafka: Kafka, inbox: tuple[Inbox, Alertmanager], tmp_path: Path
) -> None:
    mails, server = inbox
    settings = (DEPLOY / "demo" / "anomaly.toml").read_text("utf-8")
    settings = settings.replace("kafka:9092", kafka.bootstrap_servers).replace(
        "http://alertmanager:9093", server.url
    )
    (tmp_path / "anomaly.toml").write_text(f'topic_prefix = "{kafka.prefix}"\n{settings}')
    with WorkerProcess(tmp_path) as worker, NotifierProcess(tmp_path) as notifier:
        worker.wait_ready(LONG)
        notifier.wait_ready(LONG)
        job(kafka, "--rounds", "2", "--steps", "260", "--fault-step", "200", "--step-seconds", "0.02")
        eventually("a mail about each faulty run", lambda: len({*map(run_of, mails.mails)}) == 2, LONG)
    page = next(mail for mail in mails.of("oncall") if "demo-nan" in mail["Subject"])
    assert re.match(r"\[critical\] demo-nan-[\w-]+: .* since step 20\d$", page["Subject"])
    (text,) = page.iter_parts()
    lines = text.get_content().splitlines()
    assert lines[-2].startswith("Do: Stop the run")
    assert lines[-1].startswith("http://localhost:3000/d/anomaly-run?var-run=demo-nan-")
    assert {re.sub(r"-[\d-]+$", "", run_of(mail)) for mail in mails.mails} == {
        "demo-nan",
        "demo-learning-rate",
    }


def run_of(mail: EmailMessage) -> str:
    """The run that a mail is about."""
    (run,) = re.findall(r"demo-[\w-]+", mail["Subject"])
    return str(run)


def job(kafka: Kafka, *flags: str) -> None:
    """The training job, as the container runs it."""
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "ANOMALY_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "ANOMALY_TOPIC_PREFIX": kafka.prefix,
    }
    command = [sys.executable, str(DEPLOY / "demo" / "job.py"), *flags]
    subprocess.run(command, env=environment, check=True, timeout=LONG)
