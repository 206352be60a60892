"""``anomaly calibrate`` end to end: small Parquet files in, a profile out, which worker and replay then judge by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomaly import cli
from anomaly.calibration.learning import Rehearsal, learned
from anomaly.calibration.scores import REFERENCE
from anomaly.errors import SettingsError
from anomaly.monitor import snapshot
from anomaly.monitor.limits import Limits
from anomaly.monitor.monitor import PartitionMonitor
from anomaly.profile import judging_limits, read_tails
from anomaly.replay.run import messages
from anomaly.settings import Settings
from detectors.levels import Levels
from detectors.tails import NO_TAILS
from tests.calibration.runs import faulty, healthy, jumping


def calibrated(folder: Path, *flags: str) -> int:
    return cli.main(["calibrate", *flags, "--output", str(folder / "profile.json")])


def profile(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "profile.json").read_text())
    return found


def test_a_folder_of_healthy_runs_becomes_a_profile_that_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    for seed in range(3):
        healthy(runs / f"{seed}.parquet", f"calm-{seed}", seed=seed)
    assert calibrated(tmp_path, str(runs)) == 0
    told = capsys.readouterr()
    assert "spike gradient" in told.out
    assert "learned from 3 runs, 4,500 steps" in told.err
    assert "about 26 false warnings per run-month at this run's pace (1 s a step)" in told.err
    content = profile(tmp_path)
    assert content["learned_from"]["runs"] == ["calm-0", "calm-1", "calm-2"]  # type: ignore[index]
    assert content["measured"] == {"asked_per_million_steps": 10.0, "false_warnings": 0, "steps": 4500}
    tails = judging_limits(Settings(profile=str(tmp_path / "profile.json"))).tails
    assert ("spike", "gradient") in tails.by_chart
    assert tails.identity in told.err


def test_runs_that_look_faulty_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [healthy(tmp_path / "a.parquet"), faulty(tmp_path / "b.parquet"), jumping(tmp_path / "c.parquet")]
    assert calibrated(tmp_path, *map(str, files)) == 0
    told = capsys.readouterr().err
    assert "left out broken: critical: nonfinite_loss at step 400" in told
    assert "left out jumps: layer_gradient_spike at step 50" in told
    assert "learned from 1 runs" in told
    assert "more runs were left out than learned from" in told
    assert [each["run"] for each in profile(tmp_path)["learned_from"]["left_out"]] == ["broken", "jumps"]  # type: ignore[index]


def test_all_healthy_keeps_them_and_until_step_cuts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(faulty(tmp_path / "b.parquet"))
    assert calibrated(tmp_path, file) == 2
    assert (
        "no healthy run among the 1 given; give runs that went well, or say --all-healthy"
        in capsys.readouterr().err
    )
    assert calibrated(tmp_path, file, "--all-healthy") == 0
    assert "learned from 1 runs, 600 steps" in capsys.readouterr().err
    assert calibrated(tmp_path, file, "--until-step", "399") == 0
    assert "learned from 1 runs, 400 steps" in capsys.readouterr().err


def test_a_run_too_short_to_say_anything_leaves_the_levels_as_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrated(tmp_path, str(healthy(tmp_path / "a.parquet", steps=60))) == 0
    assert "the levels stay as shipped" in capsys.readouterr().out
    assert read_tails(str(tmp_path / "profile.json")) == NO_TAILS


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ([], "calibrate: got no runs; give files or folders of healthy runs, or --from-topic"),
        (["{}/empty"], "this folder holds no file that ends in .parquet or .csv; give one that does"),
        (["{}/none.parquet"], "none.parquet: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_learned_from_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], problem: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert calibrated(tmp_path, *(flag.format(tmp_path) for flag in flags)) == 2
    assert problem in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(healthy(tmp_path / "a.parquet", steps=60))
    assert cli.main(["calibrate", file, "--output", str(tmp_path / "no" / "p.json")]) == 2
    assert (
        "p.json: cannot be written (No such file or directory); give another place" in capsys.readouterr().err
    )


GOOD = {"format": "training-anomaly profile", "version": 1, "charts": 1, "tails": []}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "format: got 'list', 'training-anomaly profile' is needed"),
        (json.dumps({**GOOD, "format": "x"}), "format: got 'x'"),
        (json.dumps({**GOOD, "version": 2}), "version: got 2, this anomaly reads 1"),
        (json.dumps({**GOOD, "charts": 0}), "charts: got 0, this anomaly reads 1"),
        (json.dumps({**GOOD, "tails": 3}), "tails: got int, a list of objects is needed"),
        (json.dumps({**GOOD, "tails": [{"chart": "spike"}]}), r"tails\[0\]: clusters, kind"),
        ("x" * (5 << 20), "has more than 4194304 bytes"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_with_what_is_wrong(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=problem):
        judging_limits(Settings(profile=str(path)))


def test_a_profile_that_is_not_there_is_told_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(healthy(tmp_path / "a.parquet", steps=20))
    assert cli.main(["replay", file, "--profile", str(tmp_path / "none.json")]) == 2
    assert (
        "none.json: cannot be read (No such file or directory); give the file that anomaly calibrate wrote"
        in (capsys.readouterr().err)
    )


def test_a_run_goes_on_by_the_profile_of_whoever_restores_it_and_says_which_it_was_saved_by(
    tmp_path: Path,
) -> None:
    path = healthy(tmp_path / "a.parquet", steps=1200, spread=0.6)
    rehearsal = Rehearsal(Limits(), levels=REFERENCE)
    for message in messages([path]):
        rehearsal.take(message)
    tails = learned(rehearsal.seen.values())
    assert tails != NO_TAILS
    whole, first = (PartitionMonitor(0, 1, Limits(tails=tails)) for _ in range(2))
    stream = list(messages([path]))
    for message in stream:
        whole.take(message)
    for message in stream[:150]:
        first.take(message)
    saved = {run: snapshot.load(snapshot.dump(state)) for run, state in first.runs.items()}
    assert saved["calm"].tails == Levels(tails=tails).identity
    second = PartitionMonitor(0, 1, Limits(tails=tails), runs=saved)
    for message in stream[150:]:
        second.take(message)
    assert snapshot.dump(second.runs["calm"]) == snapshot.dump(whole.runs["calm"])
    other = PartitionMonitor(0, 1, Limits(false_warnings_per_million_steps=99.0), runs={
        run: snapshot.load(snapshot.dump(state)) for run, state in first.runs.items()
    })  # fmt: skip
    assert other.runs["calm"].slab.levels == Levels(99.0)
    assert other.runs["calm"].tails == Levels().identity


def test_a_worker_refuses_a_wrong_profile_before_it_asks_for_kafka(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.json").write_text(json.dumps({**GOOD, "charts": 99}))
    flags = ["--profile", str(tmp_path / "p.json"), "--bootstrap-servers", "127.0.0.1:9"]
    assert cli.main(["worker", *flags, "--data-dir", str(tmp_path)]) == 2
    assert (
        "charts: got 99, this anomaly reads 1; make it anew with anomaly calibrate" in capsys.readouterr().err
    )
