"""The notifier as a process: log, health server, signals, exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading

import prometheus_client
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
)

from anomaly.errors import KafkaUnreachableError, PreflightError, SettingsError
from anomaly.exit_codes import ExitCode
from anomaly.health import Health, HealthServer, process_registry, warn_if_exposed
from anomaly.logs import set_up_log
from anomaly.notify.decide import Reason
from anomaly.notify.metrics import NotifierMetrics
from anomaly.notify.pulse import LeaseLostError
from anomaly.notify.service import Notifier
from anomaly.settings import Settings

STOP_SECONDS = 6.0
"""From SIGTERM to the end, whatever hangs: what was on its way is in the ledger."""

log = logging.getLogger("anomaly.notify")


def run(settings: Settings) -> int:
    """Notify until SIGTERM or Ctrl-C; return the exit code. Raises `SettingsError` for an address that is taken."""
    if not settings.receivers:
        raise SettingsError(["receivers: there is none; give a [[receivers]] table in anomaly.toml"])
    set_up_log(settings.log_level)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry, health = process_registry(), Health()
    metrics = NotifierMetrics(registry, [spec.name for spec in settings.receiver_specs], Reason)
    warn_if_exposed("notify_metrics_address", settings.notify_metrics_address)
    with HealthServer("notify_metrics_address", settings.notify_metrics_address, registry, health) as server:
        log.info("metrics at http://%s/metrics", server.address)
        try:
            asyncio.run(_until_signal(Notifier(settings, metrics, health)))
        except (SettingsError, PreflightError) as error:
            log.error("%s", error)
            return ExitCode.REFUSED
        except Exception as error:
            return _failed(error)
    log.info("stopped")
    return ExitCode.STOPPED


async def _until_signal(notifier: Notifier) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def asked() -> None:
        timer = threading.Timer(STOP_SECONDS, os._exit, (ExitCode.STOPPED,))
        timer.daemon = True
        timer.start()
        stop.set()

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, asked)
    await notifier.run(stop)


def _failed(error: Exception) -> ExitCode:
    """Say what ended it, and whether it was Kafka that went away or we who are wrong."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, KafkaUnreachableError):
        log.error("%s", error)
        return ExitCode.KAFKA_UNREACHABLE
    if isinstance(error, LeaseLostError):
        log.error("%s", error)
        return ExitCode.LEASE_LOST
    log.critical("the notifier failed", exc_info=error)
    away = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError)
    return ExitCode.KAFKA_UNREACHABLE if isinstance(error, away) else ExitCode.INTERNAL_ERROR
