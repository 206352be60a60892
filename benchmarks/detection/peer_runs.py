"""Runs through every published rule, at every value of its knob; remembered until the run or the rules change.

A peer has no incidents: its alarms within 50 quiet steps of one another count once, as one event at the step of the
first. As an incident of ours does, an event finds a fault if it begins within the budget, and is a false alarm if it
begins where nothing is wrong. What it names by the end of the budget are its suspects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anomaly.incidents.transition import Severity
from benchmarks.detection import public_logs
from benchmarks.detection.labels import Fault, Label, Trace
from benchmarks.detection.peer_view import Alarm, View, over_ranks, view
from benchmarks.detection.peers import PEERS, Peer
from benchmarks.detection.remembered import PROCESSES, ROOT, hash_of, remembered
from benchmarks.detection.scoring import (
    SUSPECTS,
    FaultScore,
    Found,
    Page,
    RunScore,
    false_alarms,
    finding,
    localised,
)
from benchmarks.detection.series import ranks_of

QUIET_STEPS = 50
Alarms = list[tuple[float, list[str], list[int]]]
"""Each alarming step, in order, with the first few layers and the ranks that it names."""
AtKnobs = dict[str, dict[str, Alarms]]
"""Peer → knob → alarms."""
_MODULES = ("series", "peer_view", "peer_losses", "peer_layers", "peers", "peer_runs")


@cache
def _code() -> str:
    folder = Path(__file__).parent
    return hash_of([folder / f"{name}.py" for name in _MODULES], ROOT)


def look(file: Path) -> bytes:
    """What each peer says of a run, as JSON."""
    return msgspec.json.encode(alarms_of(view(file), PEERS))


def look_public(file: Path) -> bytes:
    """What each peer without layers says of each run of a file of public logs: run → peer → knob → alarms."""
    table = pq.read_table(file)
    found = {}
    for run in pc.unique(table["run"]).to_pylist():
        ranks = ranks_of(table.filter(pc.equal(table["run"], run)))
        of_run = View(over_ranks(ranks, "loss"), over_ranks(ranks, "grad_norm_total"))
        found[run] = alarms_of(of_run, [peer for peer in PEERS if not peer.layered])
    return msgspec.json.encode(found)


def alarms_of(of_run: View, peers: Sequence[Peer]) -> AtKnobs:
    """What these peers say of one run."""
    return {
        peer.name: {f"{knob:g}": _by_step(peer.rule(of_run, knob)) for knob in peer.knobs} for peer in peers
    }


def scores(traces: Sequence[Trace], processes: int = PROCESSES) -> dict[str, dict[float, list[RunScore]]]:
    """Peer → knob → each run's score, in the order of `traces`."""
    told = remembered("peers", look, [trace.file for trace in traces], _code(), processes=processes)
    found = [msgspec.json.decode(each, type=AtKnobs) for each in told]
    return {
        peer.name: {
            knob: [
                score(trace.label, each[peer.name][f"{knob:g}"])
                for trace, each in zip(traces, found, strict=True)
            ]
            for knob in peer.knobs
        }
        for peer in PEERS
    }


def public_scores(
    runs: Sequence[public_logs.PublicRun], files: Sequence[Path], processes: int = PROCESSES
) -> dict[str, dict[float, list[public_logs.PublicScore]]]:
    """Peer → knob → each public run's score."""
    found: dict[str, AtKnobs] = {}
    for each in remembered("peers-public", look_public, files, _code(), processes=processes):
        found |= msgspec.json.decode(each, type=dict[str, AtKnobs])
    return {
        peer.name: {
            knob: [public_logs.score(run, pages(found[run.run][peer.name][f"{knob:g}"])) for run in runs]
            for knob in peer.knobs
        }
        for peer in PEERS
        if not peer.layered
    }


def score(label: Label, alarms: Alarms) -> RunScore:
    """One run's score."""
    paged = pages(alarms)
    scored = [
        FaultScore(label.run, label.model, fault, _found(label, fault, paged), "") for fault in label.faults
    ]
    return RunScore(label, tuple(scored), tuple(false_alarms(label, paged)))


def pages(alarms: Alarms) -> list[Page]:
    """Each alarming step as a page of its event."""
    found: list[Page] = []
    last, event = float("-inf"), 0
    for step, layers, ranks in alarms:
        first = not last <= step <= last + QUIET_STEPS
        event += first
        named = tuple(layers) if first else _with(found[-1].layers, layers)
        found.append(Page(step, str(event), Severity.WARNING, first, layers=named, ranks=tuple(ranks)))
        last = step
    return found


def _found(label: Label, fault: Fault, paged: Sequence[Page]) -> Found | None:
    page = finding(fault, (each for each in paged if each.first))
    if page is None:
        return None
    last = [each for each in paged if each.incident == page.incident and each.step <= fault.deadline][-1]
    return Found(
        delay=page.step - fault.onset_step,
        page=page,
        kind="",
        layers=last.layers,
        ranks=last.ranks,
        right_kind=False,
        right_family=False,
        localised=localised(label, fault, last.layers),
        localised_at_once=localised(label, fault, page.layers),
        rank_named=None if fault.rank is None else fault.rank in last.ranks,
        incidents=len({each.incident for each in paged if each.first and each.step >= fault.onset_step}),
    )


def _with(before: tuple[str, ...], layers: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *layers)))[:SUSPECTS]


def _by_step(alarms: Iterable[Alarm]) -> Alarms:
    at: dict[float, tuple[list[str], list[int]]] = {}
    for alarm in alarms:
        layers, ranks = at.setdefault(alarm.step, ([], []))
        if alarm.layer and len(layers) < SUSPECTS:
            layers.append(alarm.layer)
        if alarm.rank is not None and alarm.rank not in ranks:
            ranks.append(alarm.rank)
    return [(step, *at[step]) for step in sorted(at)]
