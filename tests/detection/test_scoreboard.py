"""The command on a small corpus: what it prints, what it keeps, and that each look at the test part is written down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from benchmarks.detection import board, figures, looked, plots, worst
from benchmarks.detection.board import Detector
from benchmarks.detection.labels import Fault, Label, traces
from benchmarks.detection.page import page, rows_of
from benchmarks.detection.public_logs import PublicRun, PublicScore
from benchmarks.detection.remembered import remembered
from benchmarks.detection.scoreboard import main, report
from benchmarks.detection.scoring import RunScore, pages, score
from benchmarks.gates import DETECTION
from benchmarks.rows import row, write
from tests.detection.made_runs import Values, healthy_values, write_run
from tests.detection.transitions import transition

FAULT = Fault("F09", "layer_gradient_spike", 300, 25, layer="blocks.2", block="blocks.2", strength=40)
FAULTY = Label("faulty", "develop", "small", 400, healthy=False, fault=FAULT)
HEALTHY = Label("healthy", "develop", "small", 400, healthy=True)


def spiked(_model: Values, layered: Values) -> None:
    layered["grad_norm"][300:310, 2] *= 40


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus" / "develop"
    write_run(folder, FAULTY, *healthy_values(400, 6, seed=1), spiked)
    write_run(folder, HEALTHY, *healthy_values(400, 6, seed=2))
    return tmp_path / "corpus"


def test_our_monitor_finds_the_made_fault_and_the_command_says_so(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ours", "--corpus", str(corpus), "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "F09 layer_gradient_spike  1/1" in printed
    assert "1 of 1 visible" in printed
    assert "0 in 700" in printed


def test_the_quick_forms_choice_of_runs_is_by_name_fault_and_model(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--ours", "--quiet", "--corpus", str(corpus), "--processes", "1"]
    for choice, runs in (["--fault", "F09"], 1), (["--fault", "healthy"], 1), (["--runs", "heal*"], 1):
        assert main([*quick, *choice]) == 0
        assert f"{runs} runs, " in capsys.readouterr().out
    assert main([*quick, "--model", "large"]) == 2


def test_a_label_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"run": 3}')
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ValueError, match=r"a\.json is no label of a run"):
        traces(tmp_path)


def test_a_run_that_is_still_being_made_is_left_out(corpus: Path) -> None:
    (corpus / "develop" / "healthy.parquet").unlink()
    assert [trace.label.run for trace in traces(corpus / "develop")] == ["faulty"]


def count_bytes(file: Path) -> bytes:
    (file.parent / f"looked-{file.name}").touch()
    return str(file.stat().st_size).encode()


def test_two_processes_give_the_same_in_the_same_order(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    for size, file in enumerate(files):
        file.write_bytes(bytes(size))
    assert remembered("size", count_bytes, files, "1", tmp_path / "kept", processes=2) == [b"0", b"1", b"2"]


def test_what_was_seen_is_remembered_until_the_file_or_the_code_changes(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)

    def seen(code: str) -> tuple[list[bytes], int]:
        found = remembered("size", count_bytes, files, code, tmp_path / "kept", processes=1)
        looks = list(tmp_path.glob("looked-*"))
        for mark in looks:
            mark.unlink()
        return found, len(looks)

    assert seen("1") == ([b"1", b"1"], 2)
    assert seen("1") == ([b"1", b"1"], 0)
    files[0].write_text("longer")
    assert seen("1") == ([b"6", b"1"], 1)
    assert seen("2") == ([b"6", b"1"], 2)


def public(label: str, found: bool) -> PublicScore:
    run = PublicRun(f"{label}{found}", label, label, -1 if label == "healthy" else 3, tuple(range(10)))
    return PublicScore(run, pages([transition(5)])[0] if found else None, 0)


def detector(name: str, runs: list[RunScore]) -> Detector:
    logs = [public("healthy", False), public("healthy", True), public("spike", True)]
    return Detector(name, "z", 3.0, {2.0: runs, 3.0: runs}, {2.0: logs, 3.0: logs})


def detectors() -> list[Detector]:
    runs = [
        score(FAULTY, [transition(303, layers=("blocks.2",))]),
        score(msgspec.structs.replace(FAULTY, run="missed"), [transition(100)]),
        score(HEALTHY, []),
    ]
    return [detector(board.OURS, runs), detector("z-score", runs)]


def test_the_rows_that_have_targets_are_all_there_and_judged_by_them() -> None:
    rows = rows_of(detectors())
    without_target = {"detection_recall_later"}
    assert {each.name for each in rows} == set(DETECTION) | without_target
    values = {each.name: (each.value, each.ok) for each in rows}
    assert values["detection_recall"] == (0.5, False)
    assert values["detection_localised"] == (1.0, True)
    assert values["detection_false_alarms"] == (10.0, False)
    assert values["detection_critical_false_alarms"] == (0.0, True)
    assert values["detection_delay_p50"] == (3.0, False)
    assert values["detection_public_healthy"] == (50.0, False)
    assert values["detection_rank_named"] == (None, False)  # nothing to measure is not a pass


def test_nothing_seen_still_has_an_upper_bound() -> None:
    quiet = [score(msgspec.structs.replace(HEALTHY, steps=155_000), [])]
    by_name = {figure.name: figure for figure in figures.of_runs(quiet)}
    interval = by_name["false_alarms"].interval
    assert interval == pytest.approx((0, 0.238), abs=1e-3)
    assert "0.24 per 10,000" in by_name["critical_false_alarms"].counts


def test_the_delay_of_what_shows_at_once_is_in_readings_of_the_affected_series() -> None:
    frozen = Fault("F22", "weights_frozen", 300, 50, layer="a")  # updates are reported every ten steps
    slow = Fault("F33", "loss_divergence", 300, 300)
    runs = [
        score(msgspec.structs.replace(FAULTY, fault=fault), [transition(330)])
        for fault in (frozen, slow, FAULT)
    ]
    by_name = {figure.name: figure.value for figure in figures.of_runs(runs)}
    assert by_name["delay_p50"] == 3.0


def test_the_page_names_every_detector_fault_and_model_and_links_its_pictures(tmp_path: Path) -> None:
    made = detectors()
    drawn = plots.draw(made, tmp_path / "plots")
    text = page(made, rows_of(made), ["part develop"], drawn, [], tmp_path)
    for piece in ("| ours (3 z) |", "| z-score (3 z) |", "| F09 layer_gradient_spike | 1/2 |", "| small |"):
        assert piece in text
    for picture in drawn:
        assert picture.stat().st_size < 200_000
        assert f"(plots/{picture.name})" in text


def test_the_worst_are_the_plainest_misses_and_critical_false_alarms_first(
    corpus: Path, tmp_path: Path
) -> None:
    base = score(FAULTY, [])
    runs = [
        msgspec.structs.replace(base, faults=(msgspec.structs.replace(base.faults[0], visible=p, run=run),))
        for run, p in (("plain", 1e-30), ("plainest", 0.0), ("invisible", 0.2))
    ]
    assert [miss.run for miss in worst.misses(runs, 5)] == ["plainest", "plain"]
    alarms = [
        score(HEALTHY, [transition(10)]),
        score(msgspec.structs.replace(HEALTHY, run="other"), [transition(20, "critical")]),
    ]
    assert [alarm.run for alarm in worst.false_alarms(alarms, 5)] == ["other", "healthy"]
    shown = worst.draw(traces(corpus / "develop"), [base, alarms[0]], tmp_path / "pictures", 3)
    assert [each.file.name for each in shown] == ["worst-miss-1.png", "worst-false-alarm-1.png"]
    assert all(each.file.stat().st_size > 1000 for each in shown)
    assert "F09 layer_gradient_spike blocks.2 in faulty" in shown[0].text


def test_each_look_at_the_test_part_is_numbered_dated_and_has_its_commit(tmp_path: Path) -> None:
    path = tmp_path / "LOOKS.md"
    assert looked.write_down(7, "first", path, tmp_path) == 1
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(
        ["git", "-C", str(tmp_path), *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True
    )
    assert looked.write_down(9, "second", path, tmp_path) == 2
    first, second = path.read_text().splitlines()[-2:]
    assert first.startswith("| 1 | 20")
    assert first.endswith("UTC | unknown | 7 | first |")
    head = subprocess.run(
        ["git", "-C", str(tmp_path), "rev-parse", "--short=12", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert second.endswith(f"UTC | {head.stdout.strip()} | 9 | second |")


def test_the_scoreboards_rows_and_those_of_the_benchmark_leave_one_another_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for rows in (
        [row("cold_start", 1.0, "s")],
        [row("detection_recall", 0.9, "share")],
        [row("cost_growth", 1.0, "ratio")],
        [row("detection_recall", 0.98, "share"), row("detection_kind", 0.9, "share")],
    ):
        write(rows, path)
    entries = [(entry["name"], entry["value"]) for entry in msgspec.json.decode(path.read_bytes())]
    assert entries == [("cost_growth", 1.0), ("detection_recall", 0.98), ("detection_kind", 0.9)]


def test_the_report_lists_misses_false_alarms_and_what_was_named_otherwise() -> None:
    runs = detectors()[0].at_default
    text = report(runs, quiet=False)
    assert "missed  100   gradient_spike  warning" in text
    assert "missed  F09 layer_gradient_spike  300" in text
    assert text.count("\n\n") > report(runs, quiet=True).count("\n\n")
