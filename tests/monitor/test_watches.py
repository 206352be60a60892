"""River detectors on chosen series."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly.errors import SettingsError
from anomaly.monitor import Limits, snapshot
from anomaly.monitor.limits import watches_of
from tests.monitor.logs import log_of, monitor, training


def test_a_river_detector_watches_a_chosen_series_and_survives_a_snapshot() -> None:
    def shift(step: int, record: dict[str, Any]) -> None:
        record["data_seconds"] = float(step >= 300) + 0.01 * (step % 7)

    watches = watches_of(({"signal": "data_seconds", "detector": "drift.ADWIN"},))
    limits = Limits(watches=watches)
    log = log_of(training(range(400), shift))
    whole = monitor(limits=limits).process(log.records)
    first = monitor(limits=limits)
    transitions = first.process(log.records[:250]).transitions
    runs = {run: snapshot.load(snapshot.dump(state)) for run, state in first.runs.items()}
    transitions += monitor(limits=limits, runs=runs).process(log.records[250:]).transitions
    assert [each.encode() for _, each in transitions] == [each.encode() for _, each in whole.transitions]
    assert any(each.detector == "drift.ADWIN" for _, each in transitions)


def test_a_watch_that_does_not_fit_says_what_a_watch_needs() -> None:
    with pytest.raises(SettingsError, match=r"watch number 1: .*drift\.ADWIN"):
        watches_of(({"signal": "loss", "detector": "drift.Nothing"},))
