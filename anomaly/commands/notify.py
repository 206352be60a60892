"""``anomaly notify``: bring incidents to people until SIGTERM or Ctrl-C; ``--test RECEIVER``: one page on trial."""

from __future__ import annotations

import argparse
import os

from anomaly.errors import MissingExtraError
from anomaly.settings_sources import add_flags, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command: every setting, and the trial."""
    parser.add_argument(
        "--test",
        metavar="RECEIVER",
        help="send this receiver a page that says it is a test, and say what came back",
    )
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Notify in the foreground; return the exit code."""
    settings = load(vars(options), os.environ).settings
    try:
        from anomaly.notify import process, trial  # after the settings: wrong ones are told at once
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "a package", "notify") from error
    if options.test is not None:
        return trial.run(settings, options.test)
    return process.run(settings)
