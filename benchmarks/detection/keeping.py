"""A scoreboard printed and kept: the page, its pictures, the rows of results.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection import looked, plots, worst
from benchmarks.detection.board import Detector
from benchmarks.detection.labels import Trace
from benchmarks.detection.page import page, rows_of
from benchmarks.detection.remembered import ROOT
from benchmarks.gates import DETECTION, complaints
from benchmarks.results_page import PAGE, replace_section
from benchmarks.rows import Row, table, write

RESULTS = PAGE.parent / "results.json"
PICTURES = PAGE.parent / "plots"
WORST = 3


def keep(
    detectors: Sequence[Detector], traces: Sequence[Trace], part: str, folder: Path | None, count: int
) -> int:
    """Print and write everything, into `folder` or, where that is None, to where results are published.

    1 where a published figure misses its target.
    """
    pictures = PICTURES if folder is None else folder
    pictures.mkdir(parents=True, exist_ok=True)
    rows = rows_of(detectors)
    drawn = plots.draw(detectors, pictures)
    worst_ones = worst.draw(traces, detectors[0].at_default, pictures, count or WORST)
    beside = PAGE.parent if folder is None else folder
    text = page(detectors, rows, _head(detectors, part), drawn, worst_ones, beside)
    print(f"{text}\n\n{table(rows)}\n")
    if folder is not None:
        (folder / "RESULTS.md").write_text(text + "\n", "utf-8")
        print(f"written to {folder / 'RESULTS.md'}; only the test part's figures are published")
        return 0
    replace_section("scoreboard", text)
    write(rows, RESULTS)
    print(f"written to {PAGE}, {RESULTS} and {PICTURES}")
    return _verdict(rows)


def _verdict(rows: Sequence[Row]) -> int:
    wrong = complaints(rows, list(DETECTION))
    for sentence in wrong:
        print(f"FAILED: {sentence}")
    return 1 if wrong else 0


def _head(detectors: Sequence[Detector], part: str) -> list[str]:
    runs = detectors[0].at_default
    healthy = sum(run.label.healthy for run in runs)
    models = len({run.label.model for run in runs})
    steps = sum(run.label.steps for run in runs)
    return [
        f"part {part}: {len(runs)} runs of {models} models, {steps:,} steps; {healthy} of them healthy",
        f"`make scoreboard PART={part}`, commit {looked.commit(ROOT)}",
    ]
