"""``python -m benchmarks.detection.generate PART``: make the runs of a part, side by side; what is there is kept."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from anomaly.incidents.kinds import KINDS
from benchmarks.detection import corpus, events, faults, schedules, small
from benchmarks.detection.building import block_of
from benchmarks.detection.catalogue import row_of
from benchmarks.detection.injections import Hold
from benchmarks.detection.plan import Plan
from benchmarks.detection.table import table_of, write
from benchmarks.detection.trace import Trace
from benchmarks.detection.training import Training

CORPUS = Path(".cache/corpus")
SMALL = Path("tests/detection/traces")


def make(plan: Plan, folder: Path) -> float:
    """Train `plan` and write its trace, then its label; the seconds it took."""
    started = time.monotonic()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    trace = Trace()
    training, holds = prepare(plan, trace)
    training.run()
    table = table_of(plan, trace.records())
    folder.mkdir(parents=True, exist_ok=True)
    write(table, folder / f"{plan.run}.parquet")
    label = folder / f"{plan.run}.json"
    part = label.with_suffix(".json.part")
    part.write_text(json.dumps(label_of(plan, training, holds), indent=1) + "\n")
    part.replace(label)
    return time.monotonic() - started


def prepare(plan: Plan, trace: Trace) -> tuple[Training, list[Hold]]:
    """The training with its events and faults in place, and the faults."""
    training = Training(plan, trace)
    training.holds = [events.make(event, training) for event in plan.benign]
    broken = [faults.make(fault, training) for fault in plan.faults]
    training.holds += broken
    if plan.announced:
        training.announce(
            "lr_schedule", name=plan.schedule, warmup_steps=plan.warmup, total_steps=plan.steps, lr=plan.lr
        )
    return training, broken


def label_of(plan: Plan, training: Training, broken: list[Hold]) -> dict[str, Any]:
    """What is known of the run."""
    found = [_fault(plan, hold) for hold in broken]
    benign = [{"name": event.name, "step": event.step, "announced": event.announced} for event in plan.benign]
    benign += [
        {"name": name, "step": step, "announced": plan.announced}
        for name, step in schedules.moments(plan.schedule, plan.steps, plan.warmup)
    ]
    if plan.precision == "fp16":
        benign.append({"name": "loss_scale_search", "step": 0, "announced": False})
    if plan.sharded:
        benign.append({"name": "partial_norms", "step": 0, "announced": False})
    benign += [{"name": "logging_change", "step": at, "announced": False} for at, _ in plan.logging[1:]]
    return {
        "run": plan.run,
        "part": plan.part,
        "seed": plan.seed,
        "model": plan.model,
        "optimizer": plan.optimizer,
        "schedule": plan.schedule,
        "precision": plan.precision,
        "clipping": plan.clip,
        "accumulation": plan.accumulation,
        "ranks": plan.ranks,
        "layers": len(training.replicas[0].layers),
        "steps": plan.steps,
        "logging_every": max(every for _, every in plan.logging),
        "healthy": not found,
        "fault": found[0] if found else None,
        "second_fault": found[1] if len(found) > 1 else None,
        "benign": sorted(benign, key=lambda event: event["step"]),
        "missing": list(plan.missing),
        "plan": fingerprint(plan),
    }


def _fault(plan: Plan, hold: Hold) -> dict[str, Any]:
    fault = row_of(hold.plan.name, hold.strength)
    every = {
        "updates": plan.updates_every,
        "activations": plan.activations_every,
        "eval": plan.eval_every,
    }.get(fault.every, 1)
    start = hold.plan.step
    logging = [every for at, every in plan.logging if start >= at][-1]
    return {
        "code": hold.plan.code,
        "kind": hold.plan.name,
        "family": KINDS[hold.plan.name].family,
        "onset_step": start,
        "budget_steps": fault.budget * math.lcm(every, logging),
        "end_step": hold.end,
        "layer": hold.layer,
        "block": block_of(hold.layer) if hold.layer else None,
        "rank": _rank(plan, hold),
        "strength": hold.strength,
        "note": f"{hold.strength:g} {fault.unit}, variant {hold.plan.variant}; {hold.note}".rstrip("; "),
    }


def _rank(plan: Plan, hold: Hold) -> int | None:
    """The rank to blame, where its records can tell: a gradient that is broken in the mean alone is every rank's."""
    told = plan.ranks > 1 and (plan.local_norms or hold.plan.name != "nonfinite_gradient")
    return hold.rank if told else None


def fingerprint(plan: Plan) -> str:
    """Eight digits that change with the plan and the generator's version."""
    return hashlib.blake2b(plan.fingerprint.encode(), digest_size=4).hexdigest()


def is_made(plan: Plan, folder: Path) -> bool:
    """Whether the run is there, of this very plan."""
    try:
        label = json.loads((folder / f"{plan.run}.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(label.get("plan") == fingerprint(plan)) and (folder / f"{plan.run}.parquet").exists()


def _work(job: tuple[Plan, Path]) -> tuple[str, float, str]:
    plan, folder = job
    try:
        return plan.run, make(plan, folder), ""
    except Exception as error:
        return plan.run, 0.0, f"{type(error).__name__}: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every wanted run is there, 1 if one failed."""
    parser = argparse.ArgumentParser(prog="make corpus", description=__doc__)
    parser.add_argument("part", choices=[*corpus.PARTS, "small", "all"])
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--runs", type=int, help="how many, by default the rest of the part")
    parser.add_argument("--corpus", type=Path, help=f"by default {CORPUS}, and {SMALL} for the small runs")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    chosen = parser.parse_args(arguments)
    parts = tuple(corpus.PARTS) if chosen.part == "all" else (chosen.part,)
    jobs = [
        (plan, _folder(chosen.corpus, part))
        for part in parts
        for plan in _plans(part, chosen.first, chosen.runs)
    ]
    waiting = [(plan, folder) for plan, folder in jobs if not is_made(plan, folder)]
    print(f"{len(jobs)} runs, {len(jobs) - len(waiting)} are there", file=sys.stderr)
    return _make_all(waiting, chosen.processes)


def _folder(chosen: Path | None, part: str) -> Path:
    if part == "small" and chosen is None:
        return SMALL
    return (chosen or CORPUS) / part


def _plans(part: str, first: int, runs: int | None) -> list[Plan]:
    if part == "small":
        return small.plans()[first : None if runs is None else first + runs]
    last = corpus.PARTS[part] if runs is None else first + runs
    return [corpus.plan_of(part, number) for number in range(first, last)]


def _make_all(waiting: list[tuple[Plan, Path]], processes: int) -> int:
    failed = 0
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, (run, seconds, problem) in enumerate(pool.imap_unordered(_work, waiting), 1):
            failed += bool(problem)
            spent = time.monotonic() - started
            print(
                f"{done}/{len(waiting)} {run} {problem or f'{seconds:.0f} s'} ({spent:.0f} s)",
                file=sys.stderr,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
