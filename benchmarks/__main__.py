"""``python -m benchmarks``: measure everything on one broker, print a table, write ``results.json`` and RESULTS.md."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks import cold_start, growth, hook_overhead, latency, overwritten, state, throughput
from benchmarks.gates import GATES, complaints
from benchmarks.machine import describe
from benchmarks.processes import broker
from benchmarks.results_page import replace_section
from benchmarks.rows import Row, markdown, row, table, write
from benchmarks.scale import PAGE, Costs
from benchmarks.scale_page import page
from benchmarks.sections import Bench, Section, wanted_rows

LONGEST_SECONDS = 900
"""For one section; what has not ended by then has failed."""
RESULTS = Path(__file__).parent / "results.json"
SECTIONS = (
    Section("cold", cold_start.NAMES, cold_start.measure),
    Section("throughput", throughput.NAMES, throughput.measure),
    Section("growth", growth.NAMES, growth.measure),
    Section("latency", latency.NAMES, latency.measure),
    Section("state", state.NAMES, state.measure),
    Section("overwritten", overwritten.NAMES, overwritten.measure, long=True),
    Section("hook", hook_overhead.NAMES, hook_overhead.measure, alone=True),
)
_stopping = threading.Event()
"""Whether SIGTERM came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every wanted row was measured and meets its target, 1 if not, 130 after Ctrl-C."""
    chosen = options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGALRM, _too_long)
    remarks: list[str] = []
    try:
        rows, machine = _measured(chosen.wanted, chosen.quick, remarks)
    except KeyboardInterrupt:
        print("interrupted; nothing is written", file=sys.stderr)
        return 130
    print(f"\n{table(rows)}\n")
    for remark in remarks:
        print(f"note: {remark}")
    if chosen.output is not None:
        write(rows, chosen.output)
        print(f"written to {chosen.output}")
    if chosen.output == RESULTS:
        _write_pages(rows, machine)
    return verdict(rows, chosen.wanted)


def _write_pages(rows: Sequence[Row], machine: Sequence[str]) -> None:
    """RESULTS.md, and SCALE.md where everything that it follows from was measured."""
    replace_section("bench", "\n".join([*(f"- {line}" for line in machine), "", markdown(rows)]))
    try:
        costs = Costs.read({row.name: row.value for row in rows})
    except ValueError as error:
        print(f"SCALE.md stays as it was: {error}")
    else:
        PAGE.write_text(page(costs), "utf-8")


def verdict(rows: Sequence[Row], wanted: Sequence[str]) -> int:
    """Say what is wrong, and what was not looked at; the exit status."""
    wrong = complaints(rows, wanted)
    for sentence in wrong:
        print(f"FAILED: {sentence}")
    if left_out := [name for name in GATES if name not in wanted]:
        print(f"not measured in this run: {', '.join(left_out)}")
    print(f"{len(wrong)} of {len(wanted)} rows failed" if wrong else "every row measured has its target")
    return 1 if wrong else 0


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `wanted` is the list of rows to measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "only", nargs="*", metavar="ROW", help="measure only these rows or sections (a,b or a b)"
    )
    parser.add_argument("--quick", action="store_true", help="to see that it works; figures mean little")
    parser.add_argument("--long", action="store_true", help="the rows that take many minutes, too")
    parser.add_argument("--output", type=Path, help="default: results.json here, after a full measurement")
    chosen = parser.parse_args(arguments)
    only = {name for given in chosen.only for name in given.split(",") if name}
    try:
        chosen.wanted = wanted_rows(SECTIONS, only, chosen.long)
    except ValueError as error:
        parser.error(str(error))
    if chosen.output is None and not chosen.quick and not only:
        chosen.output = RESULTS
    return chosen


def _measured(wanted: Sequence[str], quick: bool, remarks: list[str]) -> tuple[list[Row], list[str]]:
    """The rows, and the machine they were measured on."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        with broker() as server:
            machine = describe(server.kind)
            print("\n".join(machine), flush=True)
            bench = Bench(server, Path(scratch), frozenset(wanted), quick, remarks)
            rows += _sections(bench, alone=False)
        rows += _sections(bench, alone=True)
    return rows, machine


def _sections(bench: Bench, alone: bool) -> list[Row]:
    wanted = [each for each in SECTIONS if each.alone is alone and bench.wanted.intersection(each.rows)]
    return [found for section in wanted for found in measure(section, bench)]


def measure(section: Section, bench: Bench) -> list[Row]:
    """The section's rows; if it fails, the reason and rows that say so, and the other sections go on."""
    began = time.monotonic()
    print(f"{section.name} …", flush=True)
    signal.alarm(LONGEST_SECONDS)
    try:
        rows = section.measure(bench)
    except Exception as error:
        if _stopping.is_set():  # a compiled library may swallow the interrupt and raise an error of its own
            raise KeyboardInterrupt from error
        traceback.print_exc()
        bench.remarks.append(f"{section.name} could not be measured: {error}")
        rows = [row(each, None, "") for each in section.rows if each in bench.wanted]
    finally:
        signal.alarm(0)
    if _stopping.is_set():  # or swallow it and go on
        raise KeyboardInterrupt
    print(f"{table(rows)}\n{section.name}: {time.monotonic() - began:.0f} s\n", flush=True)
    return rows


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _stopping.set()
    signal.raise_signal(signal.SIGINT)  # one way out for both: asyncio ends its tasks in order


class SectionTooLongError(Exception):
    """A section took longer than `LONGEST_SECONDS`. Not a TimeoutError, which waiting code may expect and swallow."""


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise SectionTooLongError(f"it has not ended in {LONGEST_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
