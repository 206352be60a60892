"""``python -m benchmarks.detection.scoreboard``: how well faults are found on a part of the corpus.

Ours and every published rule over their knobs, on the runs of a part and on the public logs (`--data`, or the
environment's PUBLIC_LOGS). The test part's figures go to RESULTS.md and results.json, and each look at it is written
into LOOKS.md; those of the others go to ``.cache/scoreboard/PART``.

``--ours`` is the quick form: our monitor alone, printed and kept nowhere; results of unchanged code are remembered.
``--public`` does the same on the public logs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection import board, looked, ours, told, told_public
from benchmarks.detection.labels import Trace, traces
from benchmarks.detection.remembered import PROCESSES, ROOT
from benchmarks.detection.scoring import RunScore

PARTS = ("develop", "validate", "test")
CORPUS = ROOT / ".cache" / "corpus"
PUBLIC = ROOT.parent / "shared" / "data"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0; 1 where a figure of the test part misses its target; 2 where there is nothing to score."""
    chosen = _options(arguments)
    if chosen.public:
        return _public(chosen)
    wanted = [
        trace
        for trace in traces(chosen.corpus / chosen.part)
        if _wanted(trace, chosen.runs, chosen.fault, chosen.model)
    ]
    if not wanted:
        print(f"no runs to score in {chosen.corpus / chosen.part}; make them: make corpus", file=sys.stderr)
        return 2
    if chosen.part == "test":
        number = looked.write_down(len(wanted), "ours alone" if chosen.ours else "the whole scoreboard")
        print(f"look {number} at the test part, written to {looked.PAGE}")
    return _ours(wanted, chosen) if chosen.ours else _whole(wanted, chosen)


def _ours(wanted: Sequence[Trace], chosen: argparse.Namespace) -> int:
    began = time.monotonic()
    runs = board.scores_of_ours(wanted, chosen.budget, chosen.processes)
    print(report(runs, chosen.quiet))
    faults = sum(len(run.faults) for run in runs)
    print(
        f"\n{len(runs)} runs, {faults} faults, in {time.monotonic() - began:.0f} s; code {ours.code_hash()}"
    )
    if chosen.worst:
        _print_worst(wanted, runs, chosen)
    return 0


def _print_worst(wanted: Sequence[Trace], runs: Sequence[RunScore], chosen: argparse.Namespace) -> None:
    from benchmarks.detection import worst

    for each in worst.draw(wanted, runs, _folder(chosen), chosen.worst):
        print(f"{each.text}\n  {each.file}")


def _whole(wanted: Sequence[Trace], chosen: argparse.Namespace) -> int:
    from benchmarks.detection import keeping  # matplotlib, which the quick forms do without

    data = chosen.data if _has_public(chosen.data) else None
    if data is None:
        print(_no_public(chosen.data), file=sys.stderr)
    detectors = board.measured(wanted, data, chosen.processes)
    folder = None if chosen.part == "test" else _folder(chosen)
    return keeping.keep(detectors, wanted, chosen.part, folder, chosen.worst)


def _public(chosen: argparse.Namespace) -> int:
    if not _has_public(chosen.data):
        print(_no_public(chosen.data), file=sys.stderr)
        return 2
    scores = board.public_of_ours(chosen.data, chosen.budget, chosen.processes)
    if not chosen.quiet:
        print(told_public.lists(scores), end="\n\n")
    print(told_public.summary(scores))
    return 0


def report(runs: Sequence[RunScore], quiet: bool) -> str:
    """All that the quick form prints; `quiet` leaves the lists out."""
    parts = [told.tables(runs), told.summary(runs)]
    if not quiet:
        parts[1:1] = [
            f"false alarms\n{told.false_alarms(runs)}",
            f"not found\n{told.misses(runs)}",
            f"found, but named otherwise or in several incidents\n{told.misnamed(runs)}",
        ]
    return "\n\n".join(parts)


def _folder(chosen: argparse.Namespace) -> Path:
    return ROOT / ".cache" / "scoreboard" / str(chosen.part)


def _has_public(folder: Path) -> bool:
    return (folder / "public_runs.parquet").exists()


def _no_public(folder: Path) -> str:
    return f"no public_runs.parquet in {folder}; say where it is with --data, or DATA=… with make"


def _wanted(trace: Trace, runs: str, fault: str, model: str) -> bool:
    label = trace.label
    codes = {each.code for each in label.injected}
    return (
        Path(label.run).match(runs)
        and (not fault or fault in codes or (fault == "healthy" and label.healthy))
        and (not model or label.model == model)
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.scoreboard", description=__doc__)
    parser.add_argument("--part", choices=PARTS, default="develop")
    corpus, data = Path(os.environ.get("CORPUS") or CORPUS), Path(os.environ.get("PUBLIC_LOGS") or PUBLIC)
    parser.add_argument("--corpus", type=Path, default=corpus, metavar="FOLDER")
    parser.add_argument("--data", type=Path, default=data, metavar="FOLDER", help="where the public logs are")
    parser.add_argument("--ours", action="store_true", help="our monitor alone, printed and kept nowhere")
    parser.add_argument("--public", action="store_true", help="the same on the public logs")
    parser.add_argument("--budget", type=float, help="false warnings per million steps; default: as shipped")
    parser.add_argument("--runs", default="*", metavar="PATTERN", help="only runs whose names match")
    parser.add_argument("--fault", default="", metavar="CODE", help="only runs with this fault, or `healthy`")
    parser.add_argument("--model", default="", help="only runs of this model")
    parser.add_argument("--quiet", action="store_true", help="without the lists")
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="pictures of the N worst of each kind"
    )
    parser.add_argument("--processes", type=int, default=PROCESSES)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
