"""The worker: telemetry in, incidents out. `run` is ``anomaly worker``.

Reading order:

    preflight   (topic_admin)                   what must be true of Kafka before anything starts
    app         (faust_app, transport, …)       the worker on Faust: what runs when
    stream      (partition_book, letters)       what becomes of a batch
    end_in_sight                                which seconds count for the timers
    outbox                                      what leaves, in order, acknowledged
    saver       (store, starts, repeats)        states written and offsets committed; how they are found again
    upkeep      (idle)                          runs that no record comes for: out of memory, closed, forgotten
    foreign                                     what others wrote into our changelog
    process                                     log, health server and exit code around it all
    guard, health, readings                     crash rather than limp; what is told to the outside
    fault_points                                where tests end it
"""

from __future__ import annotations

from anomaly.settings import Settings

__all__ = ["run"]


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM or Ctrl-C; return the exit code of `guard.ExitCode`.

    After an error within, the process ends here and does not return. Raises `MissingExtraError` without the extra
    ``worker`` and `SettingsError` where the metrics address or a watch cannot be used.
    """
    try:
        from anomaly.worker.process import run as run_process
    except ModuleNotFoundError as error:
        from anomaly.errors import MissingExtraError

        raise MissingExtraError(error.name or "a package", "worker") from error
    return run_process(settings)
