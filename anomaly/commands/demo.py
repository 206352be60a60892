"""``anomaly demo``: a small transformer trained with faults, and the incidents that they become."""

from __future__ import annotations

import argparse
import os
import signal
from types import FrameType

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no flags: free ports, a temporary folder, fixed seeds."""
    parser.epilog = (
        "Needs no broker: it starts its own, and leaves nothing behind. Exit code 0 if all was found."
    )


def run(_options: argparse.Namespace) -> int:
    """Run the demo in this terminal."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Whoever ends the demo, its servers end with it: the way out is always an exception through their contexts.
    for number in _ENDS:
        signal.signal(number, _interrupt)
    from anomaly.demo.run import run_demo
    from anomaly.screen import screen

    return run_demo(screen())


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in _ENDS:  # the servers are being ended: a second Ctrl-C must not leave one behind
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
