"""Run lengths, and river detectors behind the adapter."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from detectors.climb import Climb
from detectors.river_watch import EPOCH, RiverWatch
from detectors.runlength import RunLength


def test_a_condition_alarms_at_the_minimum_and_three_times_a_healthy_run_later() -> None:
    rule = RunLength(1, minimum=3)
    everywhere = np.ones(1, np.bool_)
    ratios = [
        float(rule.judge(np.array([held]), everywhere)[0]) for held in [True] * 2 + [False] + [True] * 6
    ]
    assert [ratio >= 1.0 for ratio in ratios] == [False] * 8 + [True]


def test_a_condition_that_held_long_before_is_learned_only_up_to_its_limit() -> None:
    rule = RunLength(1)
    everywhere = np.ones(1, np.bool_)
    for held in [True] * 500 + [False]:
        rule.judge(np.array([held]), everywhere)
    ratios = [float(rule.judge(np.array([True]), everywhere)[0]) for _ in range(9)]
    assert ratios[8] == 1.0


def test_a_minimum_of_no_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="minimum must be at least 1 reading, got 0"):
        RunLength(3, minimum=0)


@pytest.mark.parametrize(("cls", "size"), [(RunLength, 8), (Climb, 512)])
def test_a_cut_state_is_refused(cls: type[RunLength] | type[Climb], size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of {size} bytes, got {size - 1}; was it cut"):
        cls.load(bytes(size - 1))


def test_a_drift_detector_finds_a_shift() -> None:
    r = np.random.default_rng(0)
    watch = RiverWatch("drift.ADWIN")
    before = [watch.judge(value) for value in r.normal(0, 1, 800)]
    after = [watch.judge(value) for value in r.normal(3, 1, 100)]
    assert (max(before), max(after)) == (0.0, 1.0)


def test_an_anomaly_detector_scores_against_its_threshold() -> None:
    watch = RiverWatch("anomaly.GaussianScorer", {"grace_period": 50}, threshold=0.9999)
    for value in np.random.default_rng(1).normal(0, 1, 300):
        watch.judge(value)
    assert watch.judge(20.0) >= 1.0
    assert watch.judge(0.1) < 1.0


def test_the_state_is_bounded_by_an_epoch_and_a_quarter() -> None:
    watch = RiverWatch("drift.PageHinkley")
    sizes = []
    for value in np.random.default_rng(2).normal(0, 1, 2 * EPOCH + 10):
        watch.judge(value)
        sizes.append(len(watch.dump()))
    assert max(sizes) <= 8 + 4 * 1280


@pytest.mark.parametrize("detector", ["drift.KSWIN", "anomaly.HalfSpaceTrees", "drift.ADWIN"])
def test_a_restored_watch_continues_across_epochs_also_where_river_draws_numbers(detector: str) -> None:
    threshold = 0.9 if detector.startswith("anomaly") else None
    values = np.random.default_rng(3).normal(0, 1, EPOCH + 200)
    whole = RiverWatch(detector, threshold=threshold)
    expected = [whole.judge(value) for value in values]
    cut = RiverWatch(detector, threshold=threshold)
    for value in values[: EPOCH + 50]:
        cut.judge(value)
    restored = RiverWatch.load(detector, cut.dump(), threshold=threshold)
    assert [restored.judge(value) for value in values[EPOCH + 50 :]] == expected[EPOCH + 50 :]


@pytest.mark.parametrize(
    "name", ["drift.Nope", "os.system", "drift.__class__", "anomaly", "anomaly.base.AnomalyDetector"]
)
def test_a_name_that_river_has_no_detector_for_lists_those_it_has(name: str) -> None:
    with pytest.raises(ValueError, match=r"river has no detector .* it has drift\.ADWIN"):
        RiverWatch(name)


def test_options_that_river_refuses_are_named() -> None:
    with pytest.raises(ValueError, match=r"drift\.ADWIN refuses its options \{'foo': 1\}"):
        RiverWatch("drift.ADWIN", {"foo": 1})


def test_a_threshold_belongs_to_anomaly_detectors_alone() -> None:
    with pytest.raises(ValueError, match="needs a threshold for its score"):
        RiverWatch("anomaly.HalfSpaceTrees")
    with pytest.raises(ValueError, match="leave the threshold out"):
        RiverWatch("drift.ADWIN", threshold=1.0)


def test_a_cut_watch_is_refused() -> None:
    with pytest.raises(ValueError, match="was it cut"):
        RiverWatch.load("drift.ADWIN", b"\x00\x00\x00\x00\x05\x00\x00\x00")


def test_without_river_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['river'] = None\n"
        "from detectors.river_watch import RiverWatch\n"
        "RiverWatch('drift.ADWIN')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ModuleNotFoundError: drift.ADWIN is a detector of river, which is not installed" in run.stderr
    assert "pip install training-anomaly[worker]" in run.stderr
