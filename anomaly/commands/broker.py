"""``anomaly broker``: the development broker in the foreground."""

from __future__ import annotations

import argparse

from anomaly import broker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("--port", type=int, default=9092, help="0 takes a free one (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Run it until Ctrl-C or SIGTERM; return the exit code."""
    return broker.main(["--port", str(options.port)])
