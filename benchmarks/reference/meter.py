"""What the reference programs share: their flags, and the clock on their own CPU time."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

WARM_UP = 0.2
"""Share of the values that is not counted: start, first calls of compiled code, filling caches."""


@dataclass(frozen=True)
class Options:
    """What every program is told."""

    bootstrap_servers: str
    topic: str
    group: str
    values: int


def options(description: str | None, arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", required=True, help="a new one reads the topic from its start")
    parser.add_argument("--values", required=True, type=int, help="how many to judge before ending")
    return Options(**vars(parser.parse_args(arguments)))


class Meter:
    """CPU time of this process, all threads, user and system, from a fifth of `total` values to all of them."""

    def __init__(self, total: int) -> None:
        self.values = 0
        self._total = total
        self._started_at = 0
        self._started = 0.0

    def count(self, values: int) -> bool:
        """Count `values` as judged; True once that was all."""
        self.values += values
        if not self._started and self.values >= WARM_UP * self._total:
            self._started_at, self._started = self.values, time.process_time()
        return self.values >= self._total

    def report(self, alarms: int) -> None:
        """Write the measurement on stdout, as JSON on a line of its own (Faust moves the cursor about before it)."""
        seconds = time.process_time() - self._started
        measured = {"values": self.values - self._started_at, "cpu_seconds": seconds, "alarms": alarms}
        sys.stdout.write(f"\n{json.dumps(measured)}\n")
        sys.stdout.flush()
