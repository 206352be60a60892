"""Fences: what is within, for each way in which a number can be out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.fences import Fences
from detectors.rows import NOT_MEASURED

MISSING = np.array([NOT_MEASURED], np.uint32).view(np.float32)[0]


def _record(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("missing", [MISSING, math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_within_only_where_it_may_be_missing(missing: float) -> None:
    fences = Fences(np.array([1], np.int32))
    assert fences.within(_record(0.0, missing))
    assert np.isnan(fences.reading[0])
    fences.put(0, -1.0, 1.0, may_miss=False)
    assert not fences.within(_record(0.0, missing))
    assert fences.within(_record(0.0, 1.0))


def test_bounds_are_within_and_numbers_beyond_are_not() -> None:
    fences = Fences(np.array([0], np.int32))
    fences.put(0, -1.0, 2.0)
    assert [fences.within(_record(x)) for x in (-1.5, -1.0, 0.0, 2.0, 2.5)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_between_bounds_of_nan_no_measured_number_is_within() -> None:
    fences = Fences(np.array([0], np.int32))
    fences.put(0, math.nan, math.nan)
    assert not fences.within(_record(0.0))
    assert fences.within(_record(math.nan))


def test_a_number_that_varies_must_differ_from_the_last_measured_one_within() -> None:
    fences = Fences(np.array([0], np.int32))
    fences.vary(0, math.nan)
    given = (1.0, 1.0, 2.0, math.nan, 2.0, 1.0)
    assert [fences.within(_record(x)) for x in given] == [True, False, True, True, False, True]


def test_what_no_record_has_is_not_measured() -> None:
    fences = Fences(np.array([-1, 0], np.int32))
    assert fences.within(_record(3.0))
    assert np.isnan(fences.reading[0])
    assert fences.reading[1] == 3.0
    fences.put(0, 0.0, 1.0, may_miss=False)
    assert not fences.within(_record(3.0))
