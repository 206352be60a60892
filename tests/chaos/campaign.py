"""Many scenarios, one table. What was exact is remembered, so that an interrupted campaign goes on where it was."""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

import msgspec

from benchmarks.machine import describe
from benchmarks.results_page import replace_section
from tests.chaos.clusters import ProxiedKafka
from tests.chaos.scenario import Scenario, draw
from tests.chaos.stage import Stage
from tests.chaos.verdict import Verdict, judge
from tests.repository import REPOSITORY
from tests.worker.topic_tools import Client

RESULTS = REPOSITORY / ".cache" / "chaos"
COLUMNS = (
    "seed brokers library runs KiB/state workers records incidents repeats home restarts seconds exact  what"
)


class Row(msgspec.Struct):
    """One scenario in the table."""

    seed: int
    cells: list[str]
    exact: bool
    problems: list[str]


def play(scenario: Scenario, cluster: ProxiedKafka, folder: Path) -> Row:
    """Run one scenario and judge it. Whatever goes wrong is in the row."""
    began = time.monotonic()
    verdict = Verdict()
    with Stage(scenario, cluster, folder) as stage:
        try:
            stage.run()
            verdict = judge(Client(cluster.bootstrap_servers), stage.topics, scenario.partitions)
        except Exception as error:
            verdict.problems.append(f"{type(error).__name__}: {error}")
        if not verdict.problems and not verdict.transitions:
            verdict.problems.append("nothing was found in the first place: the scenario shows nothing")
        problems = stage.problems + verdict.problems
        codes = Counter(stage.exit_codes)
    exits = " ".join(f"{code}×{count}" for code, count in sorted(codes.items()) if code)
    faults = [f"{fault.name}@{fault.at:g}" for fault in scenario.faults]
    cells = [
        str(scenario.seed), str(scenario.brokers), "+".join(plan.library for plan in scenario.producers),
        str(verdict.runs), str(scenario.state_kib), str(scenario.workers), str(verdict.records),
        str(verdict.transitions), str(verdict.repeats), str(verdict.forwarded), str(sum(codes.values())),
        f"{time.monotonic() - began:.0f}", "no" if problems else "yes",
        f"{', '.join([*faults, *scenario.traits])} (exits {exits or 'none'})",
    ]  # fmt: skip
    return Row(scenario.seed, cells, not problems, problems)


def campaign(seeds: Iterable[int], fresh: bool) -> Iterator[Row]:
    """Rows as they come: first all scenarios on one broker, then all on three, so that two clusters do."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    scenarios = [draw(seed) for seed in seeds]
    for brokers in (1, 3):
        waiting = []
        for scenario in (each for each in scenarios if each.brokers == brokers):
            known = RESULTS / f"{scenario.seed}.json"
            if known.exists() and not fresh:
                yield msgspec.json.decode(known.read_bytes(), type=Row)
            else:
                waiting.append(scenario)
        if waiting:
            yield from _on_one_cluster(waiting, brokers)


def _on_one_cluster(scenarios: list[Scenario], brokers: int) -> Iterator[Row]:
    with ProxiedKafka(brokers) as cluster:
        for scenario in scenarios:
            folder = Path(tempfile.mkdtemp(prefix=f"chaos-{scenario.seed}-"))
            row = play(scenario, cluster, folder)
            if row.exact:
                shutil.rmtree(folder)
                (RESULTS / f"{scenario.seed}.json").write_bytes(msgspec.json.encode(row))
            else:
                row.problems.append(f"logs are in {folder}")
            yield row


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """See `tests.chaos.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many scenarios")
    parser.add_argument("--first-seed", type=int, default=1, help="the first seed")
    parser.add_argument("--fresh", action="store_true", help="also those that were exact before")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # or the brokers would stay
    print(COLUMNS, flush=True)
    rows: list[Row] = []
    try:
        for row in campaign(range(options.first_seed, options.first_seed + options.seeds), options.fresh):
            rows.append(row)
            _print(row)
    finally:
        exact = f"{sum(row.exact for row in rows)} of {len(rows)} exact"
        asked = "" if len(rows) == options.seeds else f"; interrupted, {options.seeds} were asked for"
        print(exact + asked)
        if rows:
            command = f"`make chaos SEEDS={options.seeds} FIRST_SEED={options.first_seed}`"
            replace_section("chaos", f"**{exact}** ({command}{asked})\n\n{_markdown(rows)}")
    return 0 if all(row.exact for row in rows) else 1


def _print(row: Row) -> None:
    cells = (cell.rjust(len(name)) for cell, name in zip(row.cells, COLUMNS.split(), strict=True))
    print(" ".join(cells), flush=True)
    if not row.exact:
        print("\n".join(f"    {problem}" for problem in row.problems), flush=True)
        print(f"    alone: make chaos SEEDS=1 FIRST_SEED={row.seed}", flush=True)


def _markdown(rows: list[Row]) -> str:
    """For RESULTS.md: the machine, and the table by seed."""
    machine = "\n".join(f"- {line}" for line in describe("Apache Kafka, one and three brokers"))
    names = COLUMNS.split()
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(row.cells)} |" for row in sorted(rows, key=lambda row: row.seed)]
    return f"{machine}\n\n" + "\n".join(lines)
