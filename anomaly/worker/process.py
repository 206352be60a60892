"""The worker as a process: log, health server, preflight, Faust, exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

import faust
import prometheus_client

from anomaly.errors import KafkaUnreachableError, PreflightError, SettingsError
from anomaly.exit_codes import ExitCode
from anomaly.health import Health, HealthServer, process_registry, warn_if_exposed
from anomaly.logs import set_up_log
from anomaly.metrics import WorkerMetrics
from anomaly.pace import budget_text
from anomaly.profile import judging_limits, name_of
from anomaly.settings import Settings
from anomaly.worker.app import Worker
from anomaly.worker.preflight import preflight
from anomaly.worker.readings import RunReader
from anomaly.worker.warm_up import warm_up

STOP_SECONDS = 4.5
"""From SIGTERM to the end. Saving is done after two; the rest is Faust closing its connections."""

log = logging.getLogger("anomaly.worker")


def run(settings: Settings) -> int:
    """See `anomaly.worker.run`."""
    set_up_log(settings.log_level)
    signal.signal(signal.SIGTERM, _stop_early)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    limits = judging_limits(settings)  # raises for a watch or a profile that cannot be
    health = Health()
    metrics = WorkerMetrics(process_registry(), settings.max_metric_runs)
    _make_folder(settings.data_dir)
    warn_if_exposed("metrics_address", settings.metrics_address)
    with HealthServer("metrics_address", settings.metrics_address, metrics.registry, health) as server:
        try:
            partitions = asyncio.run(preflight(settings))
        except PreflightError as error:
            log.error("%s", error)
            return ExitCode.REFUSED
        except KafkaUnreachableError as error:
            log.error("%s", error)
            return ExitCode.KAFKA_UNREACHABLE
        warm_up(limits)
        budget = budget_text(limits.false_warnings_per_million_steps)
        log.info("judges %s, with a budget of %s", name_of(limits.tails), budget)
        with _notifying(settings, metrics):
            return _run_faust(settings, partitions, metrics, health, server.address)


def _notifying(settings: Settings, metrics: WorkerMetrics) -> contextlib.AbstractContextManager[object]:
    """The notifier beside the worker, where the settings ask for it."""
    if not settings.notify_in_worker:
        return contextlib.nullcontext()
    from anomaly.notify.thread import NotifierThread

    return NotifierThread(settings, metrics.registry)


def _run_faust(
    settings: Settings, partitions: int, metrics: WorkerMetrics, health: Health, address: str
) -> int:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(settings, partitions, metrics, health, address)
    metrics.runs.source = RunReader(worker.stream.states, worker.stream.resting)
    process = _FaustWorker(
        worker.app, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False, stdout=sys.stderr
    )
    process.spinner = None
    _search_less_for_garbage()
    try:
        process.execute_from_commandline()
    except SystemExit as exit_:
        if exit_.code in (None, 0):
            log.info("stopped")
            return ExitCode.STOPPED
    except Exception:
        log.exception("Faust ended with an error")
    return ExitCode.INTERNAL_ERROR


def _search_less_for_garbage() -> None:
    """A full collection over all that was imported and all states would stop every run's judging for its length."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class _FaustWorker(faust.Worker):
    """Faust's process, which must be gone some seconds after it was asked to stop."""

    def _on_sigterm(self) -> None:
        _end_within(STOP_SECONDS)
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        self._on_sigterm()

    async def _sentinel_task(self) -> None:
        await asyncio.sleep(0.05)  # for cancelled tasks to end; stock waits a whole second


def _end_within(seconds: float) -> None:
    """Saving has its own, shorter limit: what still hangs by then is a connection that does not close."""
    timer = threading.Timer(seconds, os._exit, (ExitCode.STOPPED,))
    timer.daemon = True
    timer.start()


def _stop_early(_number: int, _frame: FrameType | None) -> NoReturn:
    _end_within(STOP_SECONDS)
    raise SystemExit(ExitCode.STOPPED)


def _make_folder(data_dir: str) -> None:
    try:
        Path(data_dir).expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            [f"data_dir: got {data_dir}, which cannot be made ({error.strerror}); choose another"]
        ) from error
