"""Whether the budget holds: what is counted, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.detection import tail_books
from benchmarks.detection.calibration import NAME, Point, false_ones, main, picture, rows, table, write_rows
from benchmarks.detection.labels import Fault, Label, traces
from detectors.levels import Levels
from detectors.tails import NO_TAILS
from tests.detection.made_runs import healthy_values, write_run
from tests.detection.transitions import transition

HEALTHY = Label("healthy", "develop", "small", 400, healthy=True)
FAULTY = Label("faulty", "develop", "small", 400, False, fault=Fault("F09", "layer_gradient_spike", 300, 25))


def point(asked: float, moved: int, every: int) -> Point:
    return Point(asked, 1_000_000, moved, every, 0)


def test_only_warnings_before_the_first_fault_count_each_incident_once() -> None:
    raised = [
        transition(100, "info", incident="a"),
        transition(120, "warning", "updated", incident="a"),
        transition(200, "warning", "resolved", incident="a"),
        transition(150, "info", incident="b"),
        transition(310, "warning", incident="c"),
    ]
    assert [each.incident for each in false_ones(FAULTY, raised)] == ["a"]
    assert [each.incident for each in false_ones(HEALTHY, raised)] == ["a", "c"]


def test_a_rate_comes_with_its_count_and_interval() -> None:
    shown = table([point(10, 8, 12)])
    assert "1,000,000 quiet steps" in shown
    assert "8 (3 to 16), 8" in shown
    assert "12 (6 to 21), 12" in shown


def test_rows_take_the_place_of_their_names_and_leave_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[{"name": "cold_start", "value": 3.0}, {"name": "' + NAME + '10", "value": 1.0}]')
    write_rows(rows([point(10, 8, 12)]), path)
    assert {row["name"]: row["value"] for row in json.loads(path.read_text())} == {
        "cold_start": 3.0,
        NAME + "10": 8.0,
    }


def test_the_picture_shows_a_budget_of_which_nothing_came() -> None:
    figure = picture([point(3, 0, 0), point(100, 60, 80)], "validate")
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 1 < high


def test_nothing_is_fitted_to_what_it_is_tried_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--fit", "--part", "validate"])
    assert "fits to a part of its own" in capsys.readouterr().err


def test_tails_are_fitted_to_the_steps_before_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "develop"
    write_run(folder, HEALTHY, *healthy_values(400, 6, seed=1))
    write_run(folder, FAULTY, *healthy_values(400, 6, seed=2))
    seen = [run for trace in traces(folder) for run in tail_books.look(trace.file)]
    assert {run.run: run.book.steps for run in seen} == {"healthy": 400, "faulty": 300}
    assert tail_books.shipped_from(seen[:0]) == NO_TAILS


def test_a_part_that_is_not_there_says_how_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--corpus", str(tmp_path)]) == 2
    assert "make corpus" in capsys.readouterr().err


def test_excursions_of_one_event_count_once_and_more_of_them_come_with_a_larger_budget(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "develop"
    write_run(folder, FAULTY, *healthy_values(400, 6, seed=2))
    (run,) = tail_books.look(traces(folder)[0].file)
    run.book._found = {
        ("spike", "gradient"): ([100, 120, 300], [40.0, 30.0, 9.0]),
        ("shift", "gradient"): ([110], [40.0]),
    }
    counts = [tail_books.excursions(run, Levels(budget, base=NO_TAILS)) for budget in (10.0, 10_000.0)]
    assert counts == [1, 2]
