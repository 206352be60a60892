"""Public logs made by hand: readings are counted, not steps, and configurations, not runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.detection import public_logs
from benchmarks.detection.public_logs import PublicRun, score, tally
from benchmarks.detection.scoring import pages
from tests.detection.transitions import transition
from tests.replay.files import parquet

SPARSE = tuple(range(0, 20_000, 100))


def failing(label: str = "spike", configuration: str = "one", onset: int = 5_000) -> PublicRun:
    return PublicRun("run", label, configuration, onset, SPARSE)


@pytest.mark.parametrize(
    ("label", "step", "found"),
    [
        ("spike", 4_900, False),
        ("spike", 5_000, True),
        ("spike", 10_000, True),
        ("spike", 10_100, False),
        ("stuck", 19_900, True),
        ("unstable", 19_900, True),
    ],
)
def test_a_run_is_found_within_fifty_readings_and_stuck_and_unstable_ones_at_any_time_after(
    label: str, step: int, found: bool
) -> None:
    assert (score(failing(label), pages([transition(step)])).page is not None) is found


def test_a_page_before_the_onset_is_counted_apart_and_delays_are_in_readings() -> None:
    scored = score(failing(), pages([transition(4_000), transition(5_300, incident="two")]))
    assert (scored.before, scored.delay_readings) == (1, 3)


def test_each_configuration_counts_once_with_the_share_of_its_runs_found() -> None:
    page = pages([transition(5_000)])
    scores = [
        score(failing(configuration="one"), page),
        score(failing(configuration="one"), []),
        score(failing("stuck", "two"), page),
        score(failing("stuck", "three"), []),
    ]
    whole = tally(scores)
    assert (whole.configurations, whole.found, whole.found_in_any_run) == (3, 1.5, 2)
    assert whole.recall == 0.5
    assert whole.by_label == {"spike": (0.5, 1), "stuck": (1.0, 2)}


def test_any_page_of_a_healthy_run_counts_but_an_info_does_not() -> None:
    healthy = msgspec.structs.replace(failing(), label="healthy", onset=-1)
    scores = [
        score(healthy, pages([transition(3, severity)])) for severity in ("info", "warning", "critical")
    ]
    whole = tally(scores)
    assert (whole.healthy_runs, whole.healthy_alarming, whole.recall) == (3, 2, None)


def test_pieces_hold_every_run_once_and_whole(tmp_path: Path) -> None:
    runs = [f"run{number}" for number in range(7) for _ in range(10)]
    parquet(tmp_path / "public_runs.parquet", run=runs, step=np.tile(np.arange(10), 7), loss=np.ones(70))
    (tmp_path / "public_runs_labels.csv").write_text(
        "run,label,config_group,onset_step\nrun3,spike,some,4\nrun5,healthy,other,-1\n"
    )
    files = public_logs.pieces(tmp_path, tmp_path / "made")
    found = [run for file in files for run in pq.read_table(file)["run"].to_pylist()]
    assert sorted(found) == runs
    spike, healthy = public_logs.read(tmp_path)
    assert (spike.onset, spike.steps, spike.healthy, healthy.healthy) == (4, tuple(range(10)), False, True)
