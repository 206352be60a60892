"""``anomaly worker``: watch the runs of a telemetry topic until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os

from anomaly.settings_sources import add_flags, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command: every setting."""
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Run the worker in the foreground; return its exit code."""
    settings = load(
        vars(options), os.environ
    ).settings  # first: wrong settings are told without Faust's second of import
    from anomaly import worker

    return int(worker.run(settings))
