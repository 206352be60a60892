"""The scores that the corpus' quiet steps show, and the tails that the package ships, fitted to those of `fit`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

import anomaly
import detectors
from anomaly.calibration.learning import Rehearsal, Seen, learned
from anomaly.calibration.scores import REFERENCE
from anomaly.monitor.limits import Limits
from anomaly.replay.run import messages
from benchmarks.detection.labels import Label, Trace
from benchmarks.detection.remembered import PROCESSES, hash_of, remembered
from detectors.levels import Levels
from detectors.tail_fits import cluster_peaks
from detectors.tails import SHIPPED_FILE, Tails, with_identity

LEFT_OUT = {"seconds", "climb"}
SHIPPED = Path(detectors.__file__).parent / SHIPPED_FILE
LEAST_STEPS = 60
_LEARNS = ("calibration", "monitor", "incidents", "replay", "records.py", "signals.py", "json_records.py")


def healthy(traces: Sequence[Trace], processes: int = PROCESSES) -> list[Seen]:
    """Every run of the traces, up to its first fault; those with too little of it are left out."""
    files = [trace.file for trace in traces if trace.label.quiet_steps >= LEAST_STEPS]
    kept = remembered("tails", _book, files, _code(), processes=processes)
    return [run for raw in kept for run in pickle.loads(raw)]


def shipped_from(runs: Sequence[Seen]) -> Tails:
    """The tails of these runs. What is healthy the labels say, so none is left out for what it looks like.

    Times say nothing, as they are drawn, not measured; nor do climbs, as what a loss may do by its nature is taken off
    them afterwards.
    """
    found = learned(runs).by_chart
    return with_identity({key: tail for key, tail in found.items() if not LEFT_OUT & set(key)})


def excursions(run: Seen, levels: Levels) -> int:
    """How often the charts of a run would have been beyond these levels, all together, 50 readings apart."""
    book, out = run.book, [np.zeros(0, np.int64)]
    for chart, kind in book.keys:
        slots, of_kind = (1, 1) if chart == "climb" else (book.slots, book.of_kind.get(kind, 1))
        readings, scores = book.scores((chart, kind))
        out.append(readings[scores >= levels.level(chart, kind, slots, of_kind, levels.budget)])
    readings = np.sort(np.concatenate(out))
    return len(cluster_peaks((readings, np.ones(len(readings))), 0.0))


def crossed(runs: Sequence[Seen], budget: float) -> int:
    """The excursions of each half of the runs, by tails fitted to the other half."""
    halves = runs[::2], runs[1::2]
    fitted = [learned(half) for half in halves]
    return sum(
        excursions(run, Levels(budget, base=tails))
        for half, tails in zip(halves, reversed(fitted), strict=True)
        for run in half
    )


def write(tails: Tails) -> None:
    """Put them into the package."""
    SHIPPED.write_text(json.dumps({"tails": tails.as_json()}, indent=1) + "\n")


def look(file: Path) -> list[Seen]:
    """The runs of one file, as they were judged up to the first fault that its label names."""
    label = msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=Label)
    rehearsal = Rehearsal(Limits(), None if label.healthy else label.quiet_steps - 1, REFERENCE)
    for message in messages([file]):
        rehearsal.take(message)
    return list(rehearsal.seen.values())


def _book(file: Path) -> bytes:
    return pickle.dumps(look(file))


def _code() -> str:
    """All code that scores follow from; the shipped tails are not among it, or each fit would ask for the next."""
    folder = Path(anomaly.__file__).parent
    kernels = sorted(Path(detectors.__file__).parent.glob("*.py"))
    return hash_of([*(folder / name for name in _LEARNS), *kernels], folder.parent)
