"""Pictures for pages: in time or not at all, and never the reason for a page that does not come."""

from __future__ import annotations

import asyncio
import logging
import time
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pytest

from anomaly import codec
from anomaly.connection import Connection
from anomaly.notify.pictures import Pictures
from anomaly.records import LayoutMessage
from tests.conftest import Kafka
from tests.notify.mailbox import Mailbox, mail_server
from tests.notify.measured import LAYOUT, Log, compact, incident
from tests.notify.stage import Stage, play, until


def of(pictures: Pictures, step: int, source: int) -> bytes | None:
    async def made() -> bytes | None:
        try:
            return await pictures.of(incident(step, source))
        finally:
            pictures.close()

    return asyncio.run(made())


def came(mailbox: Mailbox, before: int) -> bool:
    return len(mailbox.mails) > before


def pictures_of(mail: EmailMessage) -> list[bytes]:
    return [part.get_content() for part in mail.walk() if part.get_content_type() == "image/png"]


def test_a_page_gets_its_picture(kafka: Kafka) -> None:
    log = Log(kafka)
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    at = [log.add(compact(step)) for step in range(20)][-1]
    log.write()
    png = of(Pictures(Connection(kafka.bootstrap_servers), log.topic, seconds=60.0), 19, at)
    assert png is not None
    assert png.startswith(b"\x89PNG")


def test_without_evidence_a_page_goes_without_and_the_log_says_why(
    kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anomaly.notify.pictures")
    log = Log(kafka)
    assert of(Pictures(Connection(kafka.bootstrap_servers), log.topic, seconds=60.0), 3, 7) is None
    assert "no picture" in caplog.text
    assert "the topic was made anew" in caplog.text


def test_a_broker_that_is_away_is_no_reason_to_wait_or_to_fail(caplog: pytest.LogCaptureFixture) -> None:
    assert of(Pictures(Connection("127.0.0.1:1"), "training.telemetry", seconds=60.0), 3, 7) is None
    assert "no picture" in caplog.text


def test_what_takes_too_long_is_left_out(kafka: Kafka, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anomaly.notify.pictures")
    log = Log(kafka)
    assert of(Pictures(Connection(kafka.bootstrap_servers), log.topic, seconds=0.0), 3, 7) is None
    assert "no picture within 0 s" in caplog.text


@pytest.mark.kafka("apache")
def test_a_mail_of_the_notifier_brings_the_picture_of_what_telemetry_holds(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage, log = Stage(kafka.bootstrap_servers, kafka.prefix, tmp_path), Log(kafka)
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    at = [log.add(compact(step)) for step in range(60)][-1]
    log.write()

    async def whole() -> None:
        with mail_server(None) as (mailbox, port):
            stage.configure(
                f'[[receivers]]\nname = "mail"\ntype = "email"\nhost = "127.0.0.1"\nport = {port}\n'
                'security = "none"\nfrom = "anomaly@lab.example"\nto = ["on-call@lab.example"]\n'
            )
            with stage.notifier() as notifier:
                await asyncio.to_thread(notifier.wait_ready)
                for number in range(4):  # a machine that is busy may leave the first page without
                    now = time.time()
                    one = incident(
                        59, at, incident=f"{number:016x}", opened_unix_seconds=now, updated_unix_seconds=now
                    )
                    await stage.publish(one)
                    await until("a mail came", partial(came, mailbox, number))
                    if pictures_of(mailbox.mails[-1]):
                        break
                assert notifier.terminate() < 10
        assert [png[:4] for png in pictures_of(mailbox.mails[-1])] == [b"\x89PNG"], notifier.text

    play(stage, whole)
