"""One run's score: what was found, how late, how well named, and what was a false alarm.

The contracts' rules, and what they leave open, decided here:

- A **page** is the transition with which an incident reaches warning or critical: `opened` at it, or `updated` to a
  higher severity than any before. A change of its kind while it is at warning or critical is news of something else and
  is a page too; further layers or ranks are not. `info` is no page, nor is `resolved`.
- A fault is **found** by the first page whose step is in [onset, onset + budget], both ends included. So an incident
  that reached warning before the onset, and is open still, finds nothing unless it rises or changes its kind.
- A **false alarm** is an incident whose first page is in a healthy run, or before the first onset of a faulty one; it
  counts once, and as critical if it became critical there.
- What the page names is taken from the finding incident's last state within the budget: that is what people read by
  the time the fault must be known. `at_once` is the same of the page itself.
- **Localised**: one of the first three suspects is the true layer, its block, part of it, or what holds it.
- **Rank**: the true rank is named, and not all ranks are.
- **Incidents per fault**: those whose first page is at or after its onset and before the next onset; of found faults.
- A silence begins at the last record before it, which is the step that a page for it has.
- Faults that are worth `info` only (`labels.REMARKS`) are no part of recall; a page for a benign one is a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Severity, Status, Transition
from benchmarks.detection.labels import BENIGN, CODES, Fault, Label, family_of

SUSPECTS = 3
"""How many of the named layers count."""


class Page(msgspec.Struct, frozen=True):
    """A message that asks somebody to act. `first`: the incident's first one."""

    step: float
    incident: str
    severity: Severity
    first: bool = True
    kind: str = ""
    layers: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    statistic: str = ""
    score: float = 0.0


class FalseAlarm(msgspec.Struct, frozen=True):
    """An incident that paged where nothing was wrong. `near`: the latest benign event before it, or the next after."""

    run: str
    model: str
    page: Page
    critical: bool
    near: str


class Found(msgspec.Struct, frozen=True):
    """How a fault was found. None where the fault has no layer or no rank to name."""

    delay: float
    page: Page
    kind: str
    layers: tuple[str, ...]
    ranks: tuple[int, ...]
    right_kind: bool
    right_family: bool
    localised: bool | None
    localised_at_once: bool | None
    rank_named: bool | None
    incidents: int


class FaultScore(msgspec.Struct, frozen=True):
    """What became of one fault. `instead` says what was raised, for those that were not found."""

    run: str
    model: str
    fault: Fault
    found: Found | None
    instead: str
    visible: float | None = None
    """The oracle's p; None where it was not asked or the series is not there."""


class RunScore(msgspec.Struct, frozen=True):
    """One run's score."""

    label: Label
    faults: tuple[FaultScore, ...]
    false_alarms: tuple[FalseAlarm, ...]

    @property
    def quiet_steps(self) -> int:
        """Steps in which nothing may page."""
        return self.label.quiet_steps


def pages(transitions: Iterable[Transition]) -> list[Page]:
    """What paged, in order."""
    highest: dict[str, int] = {}
    kinds: dict[str, str] = {}
    found = []
    for transition in transitions:
        rank, name = transition.severity.rank, transition.incident
        before = highest.get(name, 0)
        if transition.status is Status.RESOLVED or rank == 0:
            continue
        if rank > before or transition.kind != kinds[name]:
            found.append(_page(transition, first=before == 0))
        highest[name] = max(rank, before)
        kinds[name] = transition.kind
    return found


def score(label: Label, transitions: Sequence[Transition]) -> RunScore:
    """The score of our monitor."""
    paged = pages(transitions)
    scored = [_scored(label, fault, _next_onset(label, fault), paged, transitions) for fault in label.faults]
    return RunScore(label, tuple(scored), tuple(false_alarms(label, paged)))


def finding(fault: Fault, paged: Iterable[Page]) -> Page | None:
    """The page by which a fault counts as found."""
    return next((page for page in paged if fault.onset_step <= page.step <= fault.deadline), None)


def false_alarms(label: Label, paged: Sequence[Page]) -> list[FalseAlarm]:
    """Every incident that paged where nothing was wrong."""
    until = first_onset(label)
    found = []
    for page in paged:
        if page.first and page.step < until:
            critical = any(
                other.incident == page.incident and other.severity is Severity.CRITICAL and other.step < until
                for other in paged
            )
            found.append(FalseAlarm(label.run, label.model, page, critical, _near(label, page.step)))
    return found


def first_onset(label: Label) -> float:
    """The step from which a page may be right; infinity for a healthy run."""
    return min(
        (fault.onset_step for fault in label.injected if fault.code not in BENIGN), default=float("inf")
    )


def _next_onset(label: Label, fault: Fault) -> float:
    return min(
        (other.onset_step for other in label.injected if other.onset_step > fault.onset_step),
        default=float("inf"),
    )


def _scored(
    label: Label, fault: Fault, end: float, paged: Sequence[Page], transitions: Sequence[Transition]
) -> FaultScore:
    page = finding(fault, paged)
    if page is None:
        return FaultScore(label.run, label.model, fault, None, _instead(fault, end, transitions))
    of_it = [
        each for each in transitions if each.incident == page.incident and each.status is not Status.RESOLVED
    ]
    last = _page([each for each in of_it if each.step <= fault.deadline][-1], first=False)
    found = Found(
        delay=page.step - fault.onset_step,
        page=page,
        kind=last.kind,
        layers=last.layers,
        ranks=last.ranks,
        right_kind=CODES.get(last.kind) == fault.number,
        right_family=last.kind in CODES and family_of(CODES[last.kind]) == fault.by_block,
        localised=localised(label, fault, last.layers),
        localised_at_once=localised(label, fault, page.layers),
        rank_named=_rank_named(fault, last.ranks, label.ranks),
        incidents=len(
            {each.incident for each in paged if each.first and fault.onset_step <= each.step < end}
        ),
    )
    return FaultScore(label.run, label.model, fault, found, "")


def localised(label: Label, fault: Fault, layers: Sequence[str]) -> bool | None:
    """Whether the first suspects hold the true layer or its block; None where there is none, or none is reported."""
    wanted = [name for name in (fault.layer, fault.block) if name]
    if not wanted or "layers" in label.missing:
        return None
    return any(_within(one, other) for one in layers[:SUSPECTS] for other in wanted)


def _within(one: str, other: str) -> bool:
    """Whether one module is the other, or holds it.

    >>> _within("blocks.3.mlp", "blocks.3"), _within("blocks.3", "blocks.30")
    (True, False)
    """
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _rank_named(fault: Fault, ranks: Sequence[int], world: int) -> bool | None:
    return None if fault.rank is None else fault.rank in ranks and len(ranks) < max(world, 2)


def _page(transition: Transition, first: bool) -> Page:
    return Page(
        step=transition.step,
        incident=transition.incident,
        severity=transition.severity,
        first=first,
        kind=transition.kind,
        layers=transition.layers,
        ranks=transition.ranks,
        statistic=transition.statistic,
        score=transition.score,
    )


def _near(label: Label, step: float) -> str:
    told = [f"{event.name}{'' if event.announced else ' (unannounced)'} {step - event.step:+g}" for event in
            sorted(label.benign, key=lambda event: (event.step > step, abs(event.step - step)))]  # fmt: skip
    return told[0] if told else ""


def _instead(fault: Fault, end: float, transitions: Iterable[Transition]) -> str:
    """What was raised from the onset on, and what was open before: for the list of misses."""
    told = [
        f"{each.kind} {each.severity} {each.step - fault.onset_step:+g}"
        for each in transitions
        if each.status is Status.OPENED and fault.onset_step - 100 <= each.step < end
    ]
    return ", ".join(told[:4]) or "nothing"


def differing_families() -> dict[str, tuple[str, str]]:
    """Kinds whose family in the product is not that of their code: (the product's, the code's)."""
    return {
        name: (kind.family, family_of(CODES[name]))
        for name, kind in KINDS.items()
        if name in CODES and kind.family != family_of(CODES[name])
    }
