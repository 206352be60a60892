"""From healthy runs to tails: judge them, leave out what looks like a real incident, fit, and count what is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from anomaly.calibration.marks import Marks
from anomaly.calibration.scores import FLOOR_SHARE, ScoreBook, level_of_one
from anomaly.incidents.transition import Severity, Transition
from anomaly.monitor.limits import Limits
from anomaly.monitor.state import RunState
from anomaly.records import LayoutMessage, StepMessage
from anomaly.replay.run import Replay
from detectors.levels import Levels
from detectors.tail_fits import fit
from detectors.tails import Tail, Tails, with_identity

STATISTICAL = frozenset(("spike", "shift", "climb", "flat", "bump", "sparse_spike", "peers"))
"""Detectors whose level the budget sets; what any other says is a fact."""
REAL_SCORE = 2.0
"""A statistical finding this many times its level is no tail of a healthy run."""
CUT = {"shift": 1.25}
"""The sum of a CUSUM is held at this share of its level: a score there is at least that."""
LONG_READINGS = 500
"""Nor is one whose evidence goes on for this many steps."""


@dataclass(slots=True)
class Seen:
    """One run as it was judged for learning."""

    run: str
    book: ScoreBook = field(default_factory=ScoreBook)
    last: dict[str, Transition] = field(default_factory=dict)
    """Each incident in its last state."""
    marks: Marks = field(default_factory=Marks)
    """Its false alarms, as people marked them."""
    seconds: float | None = None
    """From its first to its last record; None without times."""

    @property
    def warnings(self) -> list[Transition]:
        """What a person would have heard of."""
        return [each for each in self.last.values() if each.severity is not Severity.INFO]

    @property
    def doubt(self) -> str | None:
        """Why this is no healthy run, in words; None where nothing speaks against it."""
        return next(
            (
                reason
                for each in self.warnings
                if not self.marks.covers(each) and (reason := _real(each, self.book.peak)) is not None
            ),
            None,
        )


class Rehearsal:
    """Past runs through the monitor; `seen` are those so far, in order of appearance."""

    def __init__(
        self,
        limits: Limits,
        until_step: float | None = None,
        levels: Levels | None = None,
        looks_on: Callable[[RunState], None] | None = None,
    ) -> None:
        self.seen: dict[str, Seen] = {}
        self._looks_on = looks_on
        self.records = 0
        self.replay = Replay(limits, until_step, self._look, levels)

    def take(self, message: StepMessage | LayoutMessage) -> None:
        """One more message."""
        for transition in self.replay.take(message):
            self._run(transition.run).last[transition.incident] = transition

    def _look(self, state: RunState) -> None:
        self.records += 1
        run = self._run(state.run)
        run.book.note(state)
        if self._looks_on is not None:
            self._looks_on(state)
        if state.first_time is not None and state.last_time is not None:
            run.seconds = state.last_time - state.first_time

    def _run(self, name: str) -> Seen:
        run = self.seen.get(name)
        if run is None:
            run = self.seen[name] = Seen(name)
        return run


def learned(runs: Iterable[Seen]) -> Tails:
    """The tails of the runs' scores, for each chart and kind of which enough was seen."""
    books = [run.book for run in runs]
    tails: dict[tuple[str, str], Tail] = {}
    for chart, kind in sorted({key for book in books for key in book.keys}):
        single = chart == "climb"
        exposure = sum(book.steps if single else book.exposures.get(kind, 0.0) for book in books)
        slots = [1 if single else book.slots for book in books if (chart, kind) in book.keys]
        floor = FLOOR_SHARE * level_of_one(chart, max(slots))  # what the largest run kept, all kept
        cut = CUT.get(chart, math.inf) * level_of_one(chart, min(slots))
        found = fit([book.scores((chart, kind)) for book in books], exposure, floor, cut)
        if found is not None:
            tails[chart, kind] = found
    return with_identity(tails)


def _real(transition: Transition, peak: float) -> str | None:
    what = f"{transition.kind} at step {transition.first_step:,}"
    if transition.severity is Severity.CRITICAL:
        return f"critical: {what}"
    if transition.detector not in STATISTICAL:
        return what
    if (score := max(transition.score, peak)) >= REAL_SCORE:
        return f"{what}, {score:.1f} times its level"
    if transition.step - transition.first_step >= LONG_READINGS:
        return f"{what}, for {transition.step - transition.first_step:,.0f} steps"
    return None
