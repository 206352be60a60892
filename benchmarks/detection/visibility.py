"""What the oracle says of every fault of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from benchmarks.detection.labels import Label, Trace
from benchmarks.detection.oracle import visible_p
from benchmarks.detection.remembered import PROCESSES, ROOT, hash_of, remembered
from benchmarks.detection.scoring import RunScore
from benchmarks.detection.series import read

_MODULES = ("labels", "series", "affected", "exact", "oracle", "visibility")


@cache
def _code() -> str:
    folder = Path(__file__).parent
    return hash_of([folder / f"{name}.py" for name in _MODULES], ROOT)


def look(file: Path) -> bytes:
    """The p of each fault of a run, in order of onset, as JSON."""
    label = msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=Label)
    ranks = read(file)
    return msgspec.json.encode([visible_p(fault, ranks) for fault in label.faults])


def judge(traces: Sequence[Trace], runs: Sequence[RunScore], processes: int = PROCESSES) -> list[RunScore]:
    """The scores, each fault with its p."""
    faulty = [trace.file for trace in traces if trace.label.faults]
    told = remembered("oracle", look, faulty, _code(), processes=processes)
    known = {
        file: msgspec.json.decode(each, type=list[float | None])
        for file, each in zip(faulty, told, strict=True)
    }
    return [_with_p(run, known.get(trace.file, [])) for trace, run in zip(traces, runs, strict=True)]


def _with_p(run: RunScore, found: Sequence[float | None]) -> RunScore:
    faults = tuple(
        msgspec.structs.replace(score, visible=p) for score, p in zip(run.faults, found, strict=True)
    )
    return msgspec.structs.replace(run, faults=faults)
