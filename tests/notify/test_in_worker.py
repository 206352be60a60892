"""A worker that notifies too: from a step record to a page, and a notifier that fails does not end the worker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.conftest import Kafka
from tests.notify.recording_server import recording
from tests.notify.stage import Stage, keys, told, until, webhook
from tests.worker.processes import WorkerProcess
from tests.worker.topic_tools import Client, step

pytestmark = pytest.mark.kafka("apache")


def test_a_fault_in_a_record_is_a_page_at_a_receiver_and_a_broken_receiver_ends_no_worker(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka.bootstrap_servers, kafka.prefix, tmp_path)
    client = Client(kafka.bootstrap_servers)

    async def whole() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server), notify_in_worker=True, partitions=2)
            secret = (tmp_path / "secret").read_text()
            (tmp_path / "secret").write_text("not base64")
            with WorkerProcess(tmp_path) as worker:
                await asyncio.to_thread(worker.wait_ready)
                failed = "the notifier in this worker starts again"
                await until("the notifier fails", lambda: failed in worker.text)
                (tmp_path / "secret").write_text(secret)
                await until("it follows", lambda: worker.metrics()["anomaly_notify_ready"] == 1)
                await client.produce(
                    stage.topics.telemetry, [(b"run", step("run", at, loss=2.0)) for at in range(20)]
                )
                await client.produce(stage.topics.telemetry, [(b"run", step("run", 20, loss=float("nan")))])
                began = time.time()
                await until("the page came", lambda: len(server.requests) == 1)
                print(f"record to receiver: {time.time() - began:.3f} s at most")
                (page,) = told(server)
                assert page["data"]["transitions"][0]["kind"] == "nonfinite_loss"
                assert worker.metrics()["anomaly_notify_restarts_total"] >= 1
                assert worker.exit_codes == []
                assert worker.terminate() < 10
            assert worker.exit_codes == [0]
            assert len(keys(server)) == 1

    asyncio.run(whole())
