"""``python -m benchmarks``: measure everything on one broker, print a table, write ``benchmarks/results.json``."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import hook_overhead, latency, throughput
from benchmarks.processes import Broker, broker
from benchmarks.rows import Row, row, table, write

LONGEST_SECONDS = 600
"""For one section; what has not ended by then has failed."""
RESULTS = Path(__file__).parent / "results.json"
SECTIONS = ("throughput", "latency", "hook")
NAMES = {
    "throughput": (
        "throughput_1k", "throughput_8k", "throughput_plain_aiokafka", "throughput_stock_agent",
        "throughput_json_river", "vs_plain_aiokafka", "vs_stock_agent", "vs_json_river",
    ),
    "latency": (
        "latency_p50_100_runs", "latency_p99_100_runs", "latency_p50_1000_runs", "latency_p99_1000_runs",
    ),
    "hook": hook_overhead.NAMES,
}  # fmt: skip
"""The rows of each section: those that could not be measured stand in the table all the same."""
_stopping = threading.Event()
"""Whether SIGTERM came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every row could be measured, 1 if not, 130 after Ctrl-C; missed targets are shown."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGALRM, _too_long)
    remarks: list[str] = []
    try:
        rows = _measured(options.sections or SECTIONS, options.quick, remarks)
    except KeyboardInterrupt:
        print("interrupted; nothing is written", file=sys.stderr)
        return 130
    print(f"\n{table(rows)}\n")
    for remark in remarks:
        print(f"note: {remark}")
    if options.output is not None:
        write(rows, options.output)
        print(f"written to {options.output}")
    return 1 if any(row.value is None for row in rows) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"measure only these: {', '.join(SECTIONS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="half a minute, to see that it works; figures mean little"
    )
    parser.add_argument("--output", type=Path, help="default: results.json here, after a full measurement")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    if options.output is None and not options.quick and not options.sections:
        options.output = RESULTS
    return options


def _measured(sections: Sequence[str], quick: bool, remarks: list[str]) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        folder = Path(scratch)
        with broker() as server:
            _introduce(server)
            if "throughput" in sections:
                rows += _section("throughput", lambda: _throughput(server, folder, quick, remarks), remarks)
            if "latency" in sections:
                scale = latency.QUICK if quick else latency.FULL
                rows += _section("latency", lambda: latency.rows(server, folder, scale), remarks)
        if "hook" in sections:  # last and alone: a training step is measured here
            rows += _section("hook", lambda: hook_overhead.rows(quick), remarks)
    return rows


def _throughput(server: Broker, folder: Path, quick: bool, remarks: list[str]) -> list[Row]:
    measurement = throughput.Throughput(server, folder, throughput.QUICK if quick else throughput.FULL)
    rows = measurement.rows()
    remarks += measurement.remarks
    return rows


def _section(name: str, measure: Callable[[], list[Row]], remarks: list[str]) -> list[Row]:
    """The section's rows; if it fails, the reason and rows that say so, and the other sections go on."""
    began = time.monotonic()
    print(f"{name} …", flush=True)
    signal.alarm(LONGEST_SECONDS)
    try:
        rows = measure()
    except Exception as error:
        if _stopping.is_set():  # a compiled library may swallow the interrupt and raise an error of its own
            raise KeyboardInterrupt from error
        traceback.print_exc()
        remarks.append(f"{name} could not be measured: {error}")
        rows = [row(each, None, "") for each in NAMES[name]]
    finally:
        signal.alarm(0)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return rows


def _introduce(server: Broker) -> None:
    cores = len(os.sched_getaffinity(0))
    print(
        f"Python {platform.python_version()} on {platform.platform()}, {cores} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"broker: {server.kind} at {server.bootstrap_servers}", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _stopping.set()
    signal.raise_signal(signal.SIGINT)  # one way out for both: asyncio ends its tasks in order


class SectionTooLongError(Exception):
    """A section took longer than `LONGEST_SECONDS`. Not a TimeoutError, which waiting code may expect and swallow."""


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise SectionTooLongError(f"it has not ended in {LONGEST_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
