"""``python -m benchmarks.detection.scoreboard``: how well faults are found on a part of the corpus.

``--ours`` is the quick form: our monitor alone, printed and kept nowhere; results of unchanged code are remembered.
``--public`` does the same on the public logs, in `--data` (or the environment's PUBLIC_LOGS).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from anomaly.incidents.transition import Transition
from benchmarks.detection import ours, public_logs, told, told_public, visibility
from benchmarks.detection.labels import Trace, traces
from benchmarks.detection.remembered import PROCESSES, ROOT
from benchmarks.detection.scoring import RunScore, pages, score

PARTS = ("develop", "validate", "test")
CORPUS = ROOT / ".cache" / "corpus"
PUBLIC = ROOT.parent / "shared" / "data"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0; 2 where there is no corpus."""
    chosen = _options(arguments)
    if chosen.public:
        return _public(chosen)
    wanted = _chosen(traces(chosen.corpus / chosen.part), chosen)
    if not wanted:
        print(f"no runs to score in {chosen.corpus / chosen.part}; make them: make corpus", file=sys.stderr)
        return 2
    began = time.monotonic()
    runs = scores_of_ours(wanted, chosen.budget, chosen.processes)
    print(report(runs, chosen.quiet))
    faults = sum(len(run.faults) for run in runs)
    print(
        f"\n{len(runs)} runs, {faults} faults, in {time.monotonic() - began:.0f} s; code {ours.code_hash()}"
    )
    return 0


def scores_of_ours(wanted: Sequence[Trace], budget: float | None, processes: int) -> list[RunScore]:
    """Our monitor's scores; `budget` in false warnings per million steps, None for the one that it ships with."""
    raised = ours.raised([trace.file for trace in wanted], budget, processes=processes)
    runs = [score(trace.label, each) for trace, each in zip(wanted, raised, strict=True)]
    return visibility.judge(wanted, runs, processes)


def public_scores(folder: Path, budget: float | None, processes: int) -> list[public_logs.PublicScore]:
    """Our monitor's scores on the public logs in `folder`."""
    files = public_logs.pieces(folder, ROOT / ".cache" / "public")
    raised: dict[str, list[Transition]] = {}
    for transitions in ours.raised(files, budget, processes=processes):
        for transition in transitions:
            raised.setdefault(transition.run, []).append(transition)
    return [public_logs.score(run, pages(raised.get(run.run, ()))) for run in public_logs.read(folder)]


def _public(chosen: argparse.Namespace) -> int:
    if not (chosen.data / "public_runs.parquet").exists():
        print(f"no public_runs.parquet in {chosen.data}; say where it is with --data", file=sys.stderr)
        return 2
    scores = public_scores(chosen.data, chosen.budget, chosen.processes)
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


def _chosen(found: Sequence[Trace], chosen: argparse.Namespace) -> list[Trace]:
    return [trace for trace in found if _wanted(trace, chosen.runs, chosen.fault, chosen.model)]


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
    parser.add_argument(
        "--corpus", type=Path, default=Path(os.environ.get("CORPUS") or CORPUS), metavar="FOLDER"
    )
    parser.add_argument("--ours", action="store_true", help="our monitor alone, printed and kept nowhere")
    parser.add_argument("--public", action="store_true", help="the same on the public logs")
    data = Path(os.environ.get("PUBLIC_LOGS") or PUBLIC)
    parser.add_argument("--data", type=Path, default=data, metavar="FOLDER", help="where the public logs are")
    parser.add_argument("--budget", type=float, help="false warnings per million steps; default: as shipped")
    parser.add_argument("--runs", default="*", metavar="PATTERN", help="only runs whose names match")
    parser.add_argument("--fault", default="", metavar="CODE", help="only runs with this fault, or `healthy`")
    parser.add_argument("--model", default="", help="only runs of this model")
    parser.add_argument("--quiet", action="store_true", help="without the lists")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    chosen = parser.parse_args(arguments)
    if not (chosen.ours or chosen.public) or chosen.part == "test":
        parser.error("only --ours on develop or validate so far")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
