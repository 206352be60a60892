"""What is told, and why: every branch, and what holds whatever comes."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.incidents.actions import Action, IncidentAction
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify.decide import Decision, Reason, decide, decide_again
from anomaly.notify.delivery import Event
from anomaly.notify.entry import Entry, Outcome, decode_entry
from anomaly.notify.gate import GATHER_SECONDS, RUN_PAGES, WINDOW_SECONDS, Gate
from anomaly.notify.progress import Progress
from anomaly.notify.routing import Routed, Routes
from anomaly.settings_routes import RouteSpec
from tests.notify.pages import nan_gradient

WARNING, CRITICAL, INFO = Severity.WARNING, Severity.CRITICAL, Severity.INFO


def opened(severity: Severity = WARNING, **changes: object) -> Transition:
    return nan_gradient(transition=0, severity=severity, **changes)


def later(number: int, severity: Severity = WARNING, status: Status = Status.UPDATED) -> Transition:
    return nan_gradient(transition=number, severity=severity, status=status)


def known(transition: Transition, severity: Severity | None = None, **changes: object) -> Entry:
    fields: dict[str, object] = {"receiver": "a", "transition": transition, "offset": 7, "severity": severity}
    return Entry(**(fields | changes))  # type: ignore[arg-type]


def holds(action: Action) -> tuple[IncidentAction, ...]:
    return (IncidentAction(action=action, who="ana", why="known", unix_seconds=0.0, incident="0" * 16),)


def reason(
    transition: Transition,
    entry: Entry | None = None,
    action: Action | None = None,
    routed: Routed = Routed.YES,
) -> tuple[Event | None, Reason]:
    decision = decide(transition, entry, () if action is None else holds(action), routed)
    return decision.event, decision.reason


def test_a_first_word_pages_unless_it_is_info_or_goes_elsewhere() -> None:
    assert reason(opened()) == (Event.PAGE, Reason.PAGED)
    assert reason(opened(CRITICAL)) == (Event.PAGE, Reason.PAGED)
    assert reason(opened(INFO)) == (None, Reason.INFO)
    assert reason(opened(), routed=Routed.NO) == (None, Reason.NOT_ROUTED)
    assert reason(opened(), routed=Routed.LATER) == (None, Reason.OUTSIDE_HOURS)


def test_what_was_dealt_with_is_a_repeat_whatever_else_holds() -> None:
    entry = known(later(3), WARNING)
    for number in range(4):
        assert reason(later(number, CRITICAL), entry) == (None, Reason.REPEATED)
    assert reason(later(4), entry) == (Event.UPDATE, Reason.UPDATED)


def test_a_rise_to_critical_pages_whatever_people_did() -> None:
    for action in (Action.MUTE, Action.ACKNOWLEDGE, Action.RESOLVE, Action.FALSE_ALARM):
        assert reason(later(1, CRITICAL), known(opened(), WARNING), action) == (
            Event.ESCALATE,
            Reason.ESCALATED,
        )
        muted = known(opened(), None, outcome=Outcome.MUTED)
        assert reason(later(1, CRITICAL), muted, action) == (Event.PAGE, Reason.ESCALATED)
        assert reason(later(1, CRITICAL), None, action) == (
            Event.PAGE,
            Reason.ESCALATED,
        )  # info or elsewhere before


def test_what_was_critical_when_it_was_muted_stays_quiet() -> None:
    for action, why in (
        (Action.MUTE, Reason.MUTED),
        (Action.ACKNOWLEDGE, Reason.ACKNOWLEDGED),
        (Action.RESOLVE, Reason.RESOLVED_BY_HAND),
        (Action.FALSE_ALARM, Reason.RESOLVED_BY_HAND),
    ):
        assert reason(opened(CRITICAL), None, action) == (None, why)
        assert reason(later(1, CRITICAL), known(opened(CRITICAL), None, outcome=Outcome.MUTED), action) == (
            None,
            why,
        )


def test_an_acknowledged_page_is_kept_up_to_date_and_a_muted_one_is_not() -> None:
    entry = known(opened(), WARNING)
    assert reason(later(1), entry, Action.ACKNOWLEDGE) == (Event.UPDATE, Reason.UPDATED)
    assert reason(later(1), entry, Action.MUTE) == (None, Reason.MUTED)


def test_an_end_is_told_to_whom_it_was_paged_and_to_nobody_else() -> None:
    end = later(2, status=Status.RESOLVED)
    for action in (None, *Action):
        assert reason(end, known(opened(), WARNING), action) == (Event.RESOLVE, Reason.RESOLVED)
        assert reason(end, None, action) == (None, Reason.NEVER_PAGED)
    by_hand = known(opened(), None, outcome=Outcome.RESOLVED_BY_HAND)
    assert reason(end, by_hand) == (None, Reason.RESOLVED_BY_HAND)
    assert reason(end, known(opened(), WARNING), routed=Routed.NO) == (Event.RESOLVE, Reason.RESOLVED)


def test_a_rise_where_only_warnings_go_is_an_update() -> None:
    assert reason(later(1, CRITICAL), known(opened(), WARNING), routed=Routed.NO) == (
        Event.UPDATE,
        Reason.UPDATED,
    )


def again(entry: Entry, action: Action | None = None, routed: Routed = Routed.YES) -> Decision | None:
    return decide_again(entry, () if action is None else holds(action), routed)


def test_what_was_held_back_is_paged_once_nothing_holds_it_back_any_more() -> None:
    for outcome in (Outcome.MUTED, Outcome.OUTSIDE_HOURS, Outcome.FAILED, Outcome.RESOLVED_BY_HAND):
        entry = known(opened(), None, outcome=outcome)
        assert again(entry) == Decision(Event.PAGE, Reason.PAGED)
        assert again(entry, Action.MUTE) is None
        assert again(entry, routed=Routed.LATER) is None
        assert again(known(later(1, status=Status.RESOLVED), None, outcome=outcome)) is None


def test_who_is_paged_learns_of_a_resolution_by_hand_once() -> None:
    paged = known(opened(), WARNING)
    assert again(paged) is None
    assert again(paged, Action.MUTE) is None
    for action in (Action.RESOLVE, Action.FALSE_ALARM):
        assert again(paged, action) == Decision(Event.RESOLVE, Reason.RESOLVED_BY_HAND)
        assert again(known(opened(), None, outcome=Outcome.RESOLVED_BY_HAND), action) is None
        assert again(known(opened(), WARNING, pending=Event.ESCALATE), action) is None


def test_an_escalation_or_end_that_nobody_took_is_tried_again() -> None:
    failed = known(later(1, CRITICAL), WARNING, outcome=Outcome.FAILED)
    assert again(failed) == Decision(Event.ESCALATE, Reason.ESCALATED)
    ended = known(later(1, status=Status.RESOLVED), WARNING, outcome=Outcome.FAILED)
    assert again(ended) == Decision(Event.RESOLVE, Reason.RESOLVED)
    assert not ended.is_over
    assert again(known(later(1), WARNING, outcome=Outcome.FAILED)) is None


@given(
    severities=st.lists(st.sampled_from(list(Severity)), min_size=1, max_size=6),
    actions=st.lists(st.sampled_from([None, *list(Action)]), min_size=6, max_size=6),
    routed=st.lists(st.sampled_from(list(Routed)), min_size=6, max_size=6),
)
def test_whatever_comes_nobody_is_paged_twice_for_one_thing_and_who_is_paged_hears_the_end(
    severities: list[Severity], actions: list[Action | None], routed: list[Routed]
) -> None:
    severities = sorted(severities, key=lambda one: one.rank)  # it only rises
    entry, told = None, []
    for number, severity in enumerate(severities):
        one = opened(severity) if number == 0 else later(number, severity)
        action = actions[number]
        decision = decide(one, entry, () if action is None else holds(action), routed[number])
        if decision.event is not None:
            told.append((decision.event, severity))
        base = entry or known(one)
        paged = severity if decision.event is not None and decision.event.wakes else base.severity
        entry = msgspec.structs.replace(base, transition=one, severity=paged)
    assert sum(event is Event.PAGE for event, _ in told) <= 1
    assert sum(event is Event.ESCALATE for event, _ in told) <= 1
    if told:
        assert told[0][0] is Event.PAGE
    end = decide(later(9, status=Status.RESOLVED), entry, (), Routed.NO)
    assert (end.event is Event.RESOLVE) == bool(told)


def test_an_entry_is_read_back_as_it_was_written() -> None:
    entry = known(
        opened(), WARNING, pending=Event.PAGE, receipt="r", storm="storm-a-1-0", number=2, round=1, via="b",
        paged_unix_seconds=1.5, outcome=Outcome.FAILED,
    )  # fmt: skip
    assert repr(decode_entry(entry.encode())) == repr(entry)  # NaN is not equal to itself


def test_below_the_limit_nothing_waits_and_beyond_it_all_do_until_a_minute_is_over() -> None:
    gate = Gate(5)
    for at in range(5):
        assert gate.admits(f"r{at}", at)
        gate.note(f"r{at}", at)
    assert not gate.admits("r9", 5)
    assert not gate.admits("r9", WINDOW_SECONDS - 0.01)
    assert gate.admits("r9", WINDOW_SECONDS)
    assert GATHER_SECONDS == 10


def test_one_run_does_not_use_up_what_is_meant_for_all() -> None:
    gate = Gate(5)
    for at in range(RUN_PAGES):
        assert gate.admits("sick", at)
        gate.note("sick", at)
    assert not gate.admits("sick", 4)
    assert gate.admits("well", 4)


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 300), st.sampled_from("abcdef")), min_size=1, max_size=80),
    limit=st.integers(1, 8),
)
def test_in_no_minute_are_there_more_single_pages_than_the_limit(
    arrivals: list[tuple[float, str]], limit: int
) -> None:
    gate, pages = Gate(limit), []
    for at, run in sorted(arrivals):
        if gate.admits(run, at):
            gate.note(run, at)
            pages.append((at, run))
    for at, run in pages:
        within = [of for when, of in pages if at <= when < at + WINDOW_SECONDS]
        assert len(within) <= limit
        assert within.count(run) <= RUN_PAGES


@given(st.permutations(range(6)))
def test_progress_is_the_lowest_offset_that_is_not_done(order: list[int]) -> None:
    progress = Progress()
    progress.begin({0: 10, 1: 5})
    for offset in range(10, 16):
        progress.take(0, offset)
    left = set(range(10, 16))
    for each in order:
        progress.done(0, 10 + each)
        left.discard(10 + each)
        assert progress.positions() == {0: min(left, default=16), 1: 5}
    assert progress.waiting == 0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "routed"),
    [
        ("2026-03-27 07:30", Routed.YES),  # Friday, 08:30 in Berlin
        ("2026-03-27 06:59", Routed.LATER),
        ("2026-03-27 17:00", Routed.LATER),  # 18:00 is over
        ("2026-03-28 10:00", Routed.LATER),  # Saturday
        ("2026-03-30 06:30", Routed.YES),  # Monday, summer time began: 08:30 again
        ("2026-03-30 16:00", Routed.LATER),
    ],
)
def test_hours_are_those_of_the_place_summer_time_included(now: str, routed: Routed) -> None:
    spec = RouteSpec(receivers=("a",), hours="Mon-Fri 08:00-18:00 Europe/Berlin")
    assert Routes([spec]).routed(opened(), "a", at(now)) is routed


def test_every_route_that_matches_applies_and_none_at_all_is_every_receiver() -> None:
    tagged = opened(CRITICAL, tags={"team": "nlp", "project": "x", "priority": "high"})

    def goes(transition: Transition, receiver: str = "a", **spec: object) -> bool:
        fields: dict[str, object] = {"receivers": ("a",), **spec}
        return Routes([RouteSpec(**fields)]).routed(transition, receiver, 0.0) is Routed.YES  # type: ignore[arg-type]

    assert Routes([]).routed(opened(), "anyone", 0.0) is Routed.YES
    assert Routes([]).routed(opened(INFO), "anyone", 0.0) is Routed.NO
    assert goes(tagged)
    assert not goes(tagged, "b")
    assert goes(tagged, severity=("critical",))
    assert not goes(opened(), severity=("critical",))
    assert goes(tagged, kind=("nonfinite_*",))
    assert not goes(tagged, kind=("run_*",))
    assert goes(tagged, run=("gpt-*",))
    assert not goes(tagged, run=("bert-*",))
    assert goes(tagged, team=("nl?",), project=("x",), tags={"priority": "hi*"})
    assert not goes(tagged, team=("vision",))
    assert not goes(opened(tags=None), team=("*",))
    assert not goes(tagged, tags={"priority": "low"})
    two = Routes([RouteSpec(receivers=("a",), run=("x",)), RouteSpec(receivers=("a", "b"))])
    assert [two.routed(tagged, name, 0.0) for name in "abc"] == [Routed.YES, Routed.YES, Routed.NO]
    assert two.misses({"a": 1, "c": 1}) == ["c"]
