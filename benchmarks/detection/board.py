"""All of a scoreboard: ours and every peer, over their knobs, on one part of the corpus and on the public logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from anomaly.incidents.transition import Transition
from benchmarks.detection import ours, peer_runs, public_logs, visibility
from benchmarks.detection.labels import Trace
from benchmarks.detection.peers import PEERS
from benchmarks.detection.public_logs import PublicScore
from benchmarks.detection.remembered import PROCESSES, ROOT
from benchmarks.detection.scoring import RunScore, pages, score
from detectors.levels import BUDGET

OURS = "ours"
SWEEP = tuple(BUDGET * times for times in (1e-2, 0.1, 1.0, 10.0, 100.0))
"""Budgets that our curve is swept over, in false warnings per million steps."""


class Detector(msgspec.Struct, frozen=True):
    """One detector's scores at each value of its knob; the public ones are None for what names layers only."""

    name: str
    knob: str
    default: float
    runs: dict[float, list[RunScore]]
    public: dict[float, list[PublicScore]] | None

    @property
    def at_default(self) -> list[RunScore]:
        """As it is shipped or published."""
        return self.runs[self.default]

    @property
    def public_at_default(self) -> list[PublicScore] | None:
        """The same, on the public logs."""
        return None if self.public is None else self.public[self.default]


def measured(traces: Sequence[Trace], data: Path | None, processes: int = PROCESSES) -> list[Detector]:
    """Ours first, then every peer. `data` holds the public logs; None leaves them out."""
    detectors = [
        Detector(
            OURS,
            "false warnings per million steps",
            BUDGET,
            {budget: scores_of_ours(traces, budget, processes) for budget in SWEEP},
            None if data is None else {budget: public_of_ours(data, budget, processes) for budget in SWEEP},
        )
    ]
    of_peers = peer_runs.scores(traces, processes)
    public = {}
    if data is not None:
        public = peer_runs.public_scores(public_logs.read(data), _pieces(data), processes)
    for peer in PEERS:
        seen = {knob: visibility.judge(traces, runs, processes) for knob, runs in of_peers[peer.name].items()}
        detectors.append(Detector(peer.name, peer.knob, peer.default, seen, public.get(peer.name)))
    return detectors


def scores_of_ours(
    wanted: Sequence[Trace], budget: float | None, processes: int = PROCESSES
) -> list[RunScore]:
    """Our monitor's scores; `budget` in false warnings per million steps, None for the one that it ships with."""
    raised = ours.raised([trace.file for trace in wanted], budget or BUDGET, processes)
    runs = [score(trace.label, each) for trace, each in zip(wanted, raised, strict=True)]
    return visibility.judge(wanted, runs, processes)


def public_of_ours(folder: Path, budget: float | None, processes: int = PROCESSES) -> list[PublicScore]:
    """Our monitor's scores on the public logs in `folder`."""
    raised: dict[str, list[Transition]] = {}
    for transitions in ours.raised(_pieces(folder), budget or BUDGET, processes):
        for transition in transitions:
            raised.setdefault(transition.run, []).append(transition)
    return [public_logs.score(run, pages(raised.get(run.run, ()))) for run in public_logs.read(folder)]


def _pieces(folder: Path) -> list[Path]:
    return public_logs.pieces(folder, ROOT / ".cache" / "public")
