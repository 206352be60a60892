"""Whole-model logs of public training runs: which failing configurations are found, which healthy runs alarm.

``public_runs.parquet`` holds the series, ``public_runs_labels.csv`` what is known of each run; their README says where
both come from. As the contracts count: a run is found by a page within 50 readings of its first onset, *stuck* and
*unstable* ones by any after it (where no onset is known, by any). Runs of one configuration differ by their seed and
fail alike, so a configuration counts once: with the share of its failing runs that are found. A healthy run with any
page is one that alarms; so is, counted apart, a failing one that pages before its onset.
"""

from __future__ import annotations

import bisect
import csv
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.detection.scoring import Page

BUDGET_READINGS = 50
ANY_TIME_AFTER = frozenset({"stuck", "unstable"})
PIECES = 4
"""Files of equally many runs, judged beside one another."""


class PublicRun(msgspec.Struct, frozen=True):
    """One run: its `label`, first onset (-1 for none) and the steps at which it was logged."""

    run: str
    label: str
    configuration: str
    onset: int
    steps: tuple[int, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self.label == "healthy"

    @property
    def deadline(self) -> float:
        """The last step at which it counts as found."""
        if self.label in ANY_TIME_AFTER:
            return float("inf")
        last = bisect.bisect_left(self.steps, self.onset) + BUDGET_READINGS
        return self.steps[last] if last < len(self.steps) else float("inf")


class PublicScore(msgspec.Struct, frozen=True):
    """What became of one run. `page`: the one that found it, or a healthy one's first; `before`: pages before onset."""

    run: PublicRun
    page: Page | None
    before: int

    @property
    def delay_readings(self) -> int | None:
        """How many readings after the onset it was found."""
        if self.page is None or self.run.healthy:
            return None
        steps = self.run.steps
        return bisect.bisect_left(steps, self.page.step) - bisect.bisect_left(steps, self.run.onset)


class PublicTally(msgspec.Struct, frozen=True):
    """The figures. `recall` is None where no configuration fails."""

    configurations: int
    found: float
    found_in_any_run: int
    healthy_runs: int
    healthy_alarming: int
    failing_runs: int
    failing_found: int
    failing_alarming_before: int
    by_label: dict[str, tuple[float, int]]

    @property
    def recall(self) -> float | None:
        """Failing configurations found."""
        return self.found / self.configurations if self.configurations else None


def read(folder: Path) -> list[PublicRun]:
    """What is known of every run. FileNotFoundError where the files are not."""
    table = pq.read_table(folder / "public_runs.parquet", columns=["run", "step"])
    steps: dict[str, list[int]] = defaultdict(list)
    for run, step in zip(table["run"].to_pylist(), table["step"].to_pylist(), strict=True):
        steps[run].append(step)
    with (folder / "public_runs_labels.csv").open(encoding="utf-8", newline="") as file:
        return [
            PublicRun(
                row["run"],
                row["label"],
                row["config_group"],
                int(row["onset_step"]),
                tuple(steps.get(row["run"], ())),
            )
            for row in csv.DictReader(file)
        ]


def pieces(folder: Path, into: Path) -> list[Path]:
    """The series as `PIECES` files of whole runs, made once."""
    source = folder / "public_runs.parquet"
    state = source.stat()
    paths = [into / f"public-{state.st_size}-{state.st_mtime_ns}-{at}.parquet" for at in range(PIECES)]
    if not all(path.exists() for path in paths):
        into.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(source)
        names = pc.unique(table["run"]).to_pylist()
        for at, path in enumerate(paths):
            unfinished = path.with_suffix(".part")
            wanted = pc.is_in(table["run"].cast(pa.string()), pa.array(names[at::PIECES]))
            pq.write_table(table.filter(wanted), unfinished, compression="zstd")
            unfinished.replace(path)
    return paths


def score(run: PublicRun, paged: Sequence[Page]) -> PublicScore:
    """One run's score."""
    if run.healthy:
        return PublicScore(run, paged[0] if paged else None, 0)
    found = next((page for page in paged if run.onset <= page.step <= run.deadline), None)
    return PublicScore(run, found, sum(page.first and page.step < run.onset for page in paged))


def tally(scores: Collection[PublicScore]) -> PublicTally:
    """The figures of these runs."""
    groups = configurations(scores)
    labels: dict[str, list[float]] = defaultdict(list)
    for group in groups.values():
        for label in {score.run.label for score in group}:
            labels[label].append(_share([score for score in group if score.run.label == label]))
    healthy = [score for score in scores if score.run.healthy]
    failing = [score for score in scores if not score.run.healthy]
    return PublicTally(
        configurations=len(groups),
        found=sum(_share(group) for group in groups.values()),
        found_in_any_run=sum(any(score.page for score in group) for group in groups.values()),
        healthy_runs=len(healthy),
        healthy_alarming=sum(score.page is not None for score in healthy),
        failing_runs=len(failing),
        failing_found=sum(score.page is not None for score in failing),
        failing_alarming_before=sum(score.before > 0 for score in failing),
        by_label={label: (sum(shares), len(shares)) for label, shares in sorted(labels.items())},
    )


def configurations(scores: Iterable[PublicScore]) -> Mapping[str, list[PublicScore]]:
    """Each failing configuration's failing runs."""
    groups: dict[str, list[PublicScore]] = defaultdict(list)
    for score in scores:
        if not score.run.healthy:
            groups[score.run.configuration].append(score)
    return groups


def _share(group: Sequence[PublicScore]) -> float:
    return sum(score.page is not None for score in group) / len(group)
