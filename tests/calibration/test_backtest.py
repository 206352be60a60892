"""``anomaly backtest``: what past runs would have raised, on screen, as JSON and as pictures."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from anomaly import cli
from anomaly.calibration.curves import COLUMNS, Curves
from anomaly.calibration.learning import Rehearsal
from anomaly.monitor.limits import Limits
from anomaly.replay.run import messages
from tests.calibration.runs import faulty, healthy, jumping


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    made = (
        healthy(tmp_path / "a.parquet", steps=400, spread=0.15),
        faulty(tmp_path / "b.parquet"),
        jumping(tmp_path / "c.parquet", "team/jumps"),
    )
    return [str(path) for path in made]


def test_each_run_has_its_table_and_the_totals_say_what_that_is_in_a_month(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["backtest", *files]) == 0
    told = capsys.readouterr()
    assert "calm  400 steps  nothing" in told.out
    assert "Non-finite loss" in told.out
    assert "Gradient spike in one layer   h.1" in told.out
    assert "3 runs, 1,900 steps: 1 critical, 1 warning, 0 info; 2 runs with a warning or critical" in told.err
    assert "per run-month at their pace (1 s a step)" in told.err
    assert "judged as shipped; the budget for false ones: about 26 false warnings per run-month" in told.err
    assert "\x1b" not in told.out + told.err


def test_json_is_one_object_a_run_and_nothing_else_on_stdout(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["backtest", *files, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["run"], each["steps"], len(each["incidents"])) for each in found] == [
        ("calm", 400, 0), ("broken", 600, 1), ("team/jumps", 900, 1),
    ]  # fmt: skip
    assert found[1]["incidents"][0]["kind"] == "nonfinite_loss"


def test_pictures_have_names_of_their_own_whatever_a_run_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("../x", "x", "..", "x" * 200)
    runs = [str(faulty(tmp_path / f"{at}.parquet", name)) for at, name in enumerate(names)]
    folder = tmp_path / "plots"
    assert cli.main(["backtest", *runs, "--plots", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "run.png",
        "x-2.png",
        "x.png",
        "x" * 80 + ".png",
    ]
    assert "4 pictures in" in capsys.readouterr().err


def test_a_picture_shows_where_the_layers_were_out(tmp_path: Path, files: list[str]) -> None:
    folder = tmp_path / "plots"
    assert cli.main(["backtest", files[2], "--plots", str(folder)]) == 0
    pixels = mpl.image.imread(folder / "team_jumps.png")
    assert pixels.shape[:2] == (1040, 780)
    # brown and dark is a score beyond its level; the colour bar has some of it in either picture
    assert _brown(pixels) > _brown(mpl.image.imread(_drawn(tmp_path, files[0]))) + 1000


def _brown(pixels: np.ndarray) -> int:
    red, blue = pixels[..., 0], pixels[..., 2]
    return int(((red < 0.3) & (red > blue + 0.05)).sum())


def _drawn(tmp_path: Path, file: str) -> Path:
    assert cli.main(["backtest", file, "--plots", str(tmp_path / "plots")]) == 0
    return tmp_path / "plots" / "calm.png"


def test_the_budget_moves_what_is_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(healthy(tmp_path / "a.parquet", steps=3000, spread=1.0))
    counts = []
    for budget in ("1", "10000"):
        assert cli.main(["backtest", file, "--budget", budget, "--json"]) == 0
        counts.append(len(json.loads(capsys.readouterr().out)["incidents"]))
    assert counts[0] < counts[1]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["--budget", "0"],
            "false_warnings_per_million_steps (--false-warnings-per-million-steps): got 0.0, 0.01 to",
        ),
        (["--profile", "none.json"], "none.json: cannot be read"),
        (["--plots", "{}/a.parquet/x"], "cannot be written (Not a directory); give another folder"),
    ],
)
def test_wrong_flags_say_what_was_got_and_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], problem: str
) -> None:
    file = str(healthy(tmp_path / "a.parquet", steps=20))
    assert cli.main(["backtest", file, *(flag.format(tmp_path) for flag in flags)]) == 2
    assert problem in capsys.readouterr().err


def test_curves_of_a_long_run_are_thinned_and_keep_its_extremes(tmp_path: Path) -> None:
    path = healthy(tmp_path / "a.parquet", steps=5 * COLUMNS)
    curves = Curves()
    rehearsal = Rehearsal(Limits(), looks_on=curves.note)
    losses = []
    for message in messages([path]):
        rehearsal.take(message)
        losses.append(float(message.values[0, 0]))
    assert COLUMNS <= len(curves.steps) <= 2 * COLUMNS
    assert curves.strip().shape == (4, len(curves.steps))
    assert max(high for _, high in curves.values["loss"]) == pytest.approx(max(losses))
    assert min(low for low, _ in curves.values["loss"]) == pytest.approx(min(losses))
    assert curves.steps == sorted(curves.steps)
