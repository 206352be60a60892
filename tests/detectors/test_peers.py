from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.peers import PeerChart, PeerVerdict, peer_levels

Floats = NDArray[np.float64]
STEPS, COLUMNS, AT = 300, 5, 200
FLOOR = 0.05


def readings(ranks: int, noise: float = 0.2, steps: int = STEPS, seed: int = 0) -> Floats:
    """[steps, ranks, columns] in log2: columns that move as one, ranks that differ for ever."""
    r = np.random.default_rng([ranks, seed])
    common = r.normal(0, 0.3, (steps, 1, COLUMNS))
    return common + r.normal(0, 1, (1, ranks, COLUMNS)) + r.normal(0, noise, (steps, ranks, COLUMNS))


def chart() -> PeerChart:
    return PeerChart(np.arange(COLUMNS), np.full(COLUMNS, FLOOR))


def verdicts(y: Floats, peers: PeerChart | None = None, start: int = 0) -> list[PeerVerdict]:
    peers = peers or chart()
    numbers, groups = list(range(y.shape[1])), [np.arange(y.shape[1])]
    return [peers.judge(numbers, row, groups, start + at, 1.0) for at, row in enumerate(y)]


def first_alarm(found: list[PeerVerdict]) -> tuple[int, list[int]] | None:
    """(step, ranks) of the first alarm."""
    for step, verdict in enumerate(found):
        out = (np.abs(verdict.ratio) >= 1).any(axis=1)
        if out.any():
            return step, np.flatnonzero(out).tolist()
    return None


@pytest.mark.parametrize("ranks", [2, 3, 4, 9])
def test_ranks_that_differ_for_ever_say_nothing(ranks: int) -> None:
    for seed in range(8):
        assert first_alarm(verdicts(readings(ranks, seed=seed))) is None


@pytest.mark.parametrize(
    ("ranks", "height", "delay"),
    [
        (2, 3.0, 3),
        *itertools.product((3, 4, 9), (3.0,), (3,)),
        *itertools.product((3, 4, 9), (1.0, -1.0), (16,)),
    ],
)
def test_the_rank_that_leaves_its_place_among_the_others_is_found(
    ranks: int, height: float, delay: int
) -> None:
    y = readings(ranks)
    y[AT:, 1, 2] += height
    found = verdicts(y)
    alarm = first_alarm(found)
    assert alarm is not None
    assert AT < alarm[0] <= AT + delay
    assert alarm[1] == [1]
    verdict = found[alarm[0]]
    assert np.sign(verdict.ratio[1, 2]) == np.sign(height)
    assert abs(int(verdict.onset[1, 2]) - AT) <= 4


def test_one_reading_never_alarms_however_far_it_is() -> None:
    y = readings(4)
    y[AT, 1, 2] += 1e6
    assert first_alarm(verdicts(y)) is None


def test_all_ranks_moving_together_are_nobodys_fault() -> None:
    y = readings(4)
    y[AT:] += 8.0
    assert first_alarm(verdicts(y)) is None


def test_readings_that_echo_ask_for_more() -> None:
    r = np.random.default_rng(1)
    y = r.normal(0, 0.2, (3000, 4, COLUMNS))
    for step in range(1, len(y)):
        y[step] = 0.95 * y[step - 1] + np.sqrt(1 - 0.95**2) * y[step]
    assert first_alarm(verdicts(y)) is None


def test_an_offset_that_stays_is_usual_after_a_while() -> None:
    y = readings(4, steps=1200)
    y[AT:, 1, 2] += 4.0
    found = verdicts(y)
    assert np.abs(found[AT + 100].ratio).max() >= 1
    assert all(np.abs(verdict.ratio).max() < 1 for verdict in found[AT + 600 :])


def test_groups_are_compared_among_themselves_only() -> None:
    y = readings(6)
    y[AT:, :3] += 5.0
    peers = chart()
    groups = [np.arange(3), np.arange(3, 6)]
    found = [peers.judge(list(range(6)), row, groups, at, 1.0) for at, row in enumerate(y)]
    assert first_alarm(found) is None


def test_what_is_not_measured_changes_nothing_of_its_column() -> None:
    y = readings(4)
    sparse = np.full((2 * len(y), *y.shape[1:]), np.nan)
    sparse[::2] = y
    whole, parts = verdicts(y), verdicts(sparse)[::2]
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.ratio, other.ratio)
        np.testing.assert_array_equal(one.z, other.z)


def test_a_restored_chart_continues_as_if_it_had_never_stopped() -> None:
    y = readings(5)
    y[AT:, 1, 2] += 0.6
    whole, cut = chart(), chart()
    expected = verdicts(y, whole)[150:]
    verdicts(y[:150], cut)
    got = verdicts(y[150:], PeerChart.load(cut.dump()), 150)
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one.ratio, other.ratio)
        np.testing.assert_array_equal(one.onset, other.onset)
    assert whole.dump() != cut.dump()


def test_bytes_that_were_cut_are_refused() -> None:
    peers = chart()
    verdicts(readings(3, steps=3), peers)
    for cut in (0, 7, 15, 16, 100, -1):
        with pytest.raises(ValueError, match="no state of a chart of ranks"):
            PeerChart.load(peers.dump()[:cut])


def test_columns_and_ranks_that_come_later_leave_the_others_as_they_are() -> None:
    y = readings(4)
    grown, plain = chart(), chart()
    wide = np.concatenate([y, readings(4, seed=1)], axis=2)
    for at, row in enumerate(y):
        expected = plain.judge([0, 1, 2, 3], row, [np.arange(4)], at, 1.0, 1.0)
        if at == 100:
            grown.widen(np.arange(COLUMNS, 2 * COLUMNS), np.full(COLUMNS, FLOOR))
        now = row if at < 100 else wide[at]
        got = grown.judge([0, 1, 2, 3], now, [np.arange(4)], at, 1.0, 1.0)
        np.testing.assert_allclose(got.z[:, :COLUMNS], expected.z, atol=0.05)


def test_the_level_grows_with_what_is_watched_and_falls_with_the_budget() -> None:
    for fewer, more in itertools.pairwise((2, 20, 2000, 200_000)):
        assert peer_levels(fewer, 1.0) < peer_levels(more, 1.0)
        assert peer_levels(more, 1.0) > peer_levels(more, 100.0)


@pytest.mark.parametrize("ranks", [4, 8])
def test_ranks_that_all_become_wilder_say_next_to_nothing_and_one_that_leaves_them_is_found_then(
    ranks: int,
) -> None:
    wilder = np.geomspace(0.05, 1.0, 120).repeat([AT - 20, *[1] * 118, STEPS - AT + 20 - 118])
    false = 0
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 1, (STEPS, ranks, COLUMNS))
        y = readings(ranks, 0.05, seed=seed) + noise * wilder[:, None, None]
        false += first_alarm(verdicts(y)) is not None
        y[-20:, 1, 2] += 8.0
        out = np.abs(verdicts(y)[-1].ratio[:, 2]) >= 1
        assert np.flatnonzero(out).tolist() == [1]
    assert false <= 1


@pytest.mark.parametrize(("apart", "shards"), [(0.0, False), (0.05, False), (0.3, True)])
def test_shards_stand_apart_in_each_column_in_another_way(apart: float, shards: bool) -> None:
    r = np.random.default_rng(3)
    y = r.normal(0, 0.3, (60, 1, COLUMNS)) + r.normal(0, 0.2, (60, 4, COLUMNS))
    y += apart * r.normal(0, 1, (1, 4, COLUMNS))
    y[:, 1] += 1.0  # other samples: in all columns alike
    peers = chart()
    verdicts(y, peers)
    assert peers.are_shards(np.arange(COLUMNS)) is shards


def test_few_columns_say_nothing_of_shards() -> None:
    peers = chart()
    verdicts(readings(4), peers)
    assert peers.are_shards(np.arange(COLUMNS))
    assert not peers.are_shards(np.arange(2))
