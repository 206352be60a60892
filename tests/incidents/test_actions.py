"""What people do with incidents: the record, its published schema, and which actions hold."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.errors import ActionError
from anomaly.incidents import (
    Action,
    ActionBook,
    IncidentAction,
    Match,
    action_schema,
    decode_action,
    encode_action,
)
from tests.commands.transitions import transition

NOW = 1_790_000_000.0
INCIDENT = "0123456789abcdef"


def action(**fields: Any) -> IncidentAction:
    given_fields = {
        "action": Action.ACKNOWLEDGE,
        "who": "ada",
        "why": "looking",
        "unix_seconds": NOW,
        **fields,
    }
    if "match" not in fields:
        given_fields.setdefault("incident", INCIDENT)
    return IncidentAction(**given_fields)


GOOD = (
    action(),
    action(run="gpt", kind="run_silent", first_step=118, step=120.5),
    action(action=Action.MUTE, until=NOW + 60),
    action(action=Action.FALSE_ALARM, why="we changed the data"),
    action(action=Action.RESOLVE),
    action(action=Action.WITHDRAW),
    action(action=Action.MUTE, match=Match(run="gpt-*"), until=NOW + 3600),
    action(action=Action.WITHDRAW, match=Match(team="vision", kind="nonfinite_*")),
)
BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"incident": None}, "incident and match"),
    ({"match": {"run": "a"}}, "incident and match"),
    ({"incident": "xyz"}, "16 hexadecimal digits"),
    ({"incident": None, "match": {"run": "a"}}, "name the incident"),
    ({"incident": None, "action": "mute", "match": {}, "until": NOW + 1}, "every incident"),
    ({"incident": None, "action": "mute", "match": {"run": "a" * 201}, "until": NOW + 1}, "1 to 200"),
    ({"incident": None, "action": "mute", "match": {"run": "a"}}, "until: a mute by match needs one"),
    ({"who": " "}, "who: got 1 characters"),
    ({"why": ""}, "why: got 0 characters"),
    ({"why": "x" * 1001}, "why: got 1001 characters"),
    ({"action": "resolve", "until": NOW + 1}, "only acknowledge and mute end"),
    ({"until": NOW - 1}, "at most 30 days"),
    ({"until": NOW + 31 * 86_400}, "at most 30 days"),
    ({"action": "snooze"}, "snooze"),
    ({"unix_seconds": "now"}, "unix_seconds"),
    ({"who": None}, "who"),
)
BEYOND_THE_SCHEMA = ("at most 30 days",)
"""JSON Schema cannot compare two fields."""


@pytest.mark.parametrize("given_action", GOOD)
def test_an_action_reads_back_as_it_was_and_follows_the_published_schema(
    given_action: IncidentAction,
) -> None:
    encoded = encode_action(given_action)
    jsonschema.validate(json.loads(encoded), action_schema())
    assert decode_action(encoded) == given_action


@pytest.mark.parametrize(("fields", "said"), BAD)
def test_what_is_no_action_is_refused_with_the_reason_and_by_the_schema(
    fields: dict[str, Any], said: str
) -> None:
    record = {**json.loads(encode_action(action())), **fields}
    with pytest.raises(ActionError, match=said):
        decode_action(json.dumps(record).encode())
    if said not in BEYOND_THE_SCHEMA:
        assert not jsonschema.Draft202012Validator(action_schema()).is_valid(record)


@pytest.mark.parametrize(
    "payload", [None, b"", b"[]", b"{", b'{"action":NaN}', b"\xff\xfe", b"[" * 100_000, b'"\\ud800"']
)
def test_bytes_that_are_no_action_are_refused_with_words(payload: bytes | None) -> None:
    with pytest.raises(ActionError, match="not an action"):
        decode_action(payload)


@given(st.binary(max_size=300))
def test_no_bytes_bring_down_a_reader(payload: bytes) -> None:
    with pytest.raises(ActionError):
        decode_action(payload)


@pytest.mark.parametrize("why", ["", "\udcff"])
def test_what_cannot_be_read_back_cannot_be_written(why: str) -> None:
    with pytest.raises(ActionError, match="why"):
        encode_action(action(why=why))


def test_fields_of_a_later_version_are_passed_over() -> None:
    record = {**json.loads(encode_action(action())), "ticket": {"id": 7}}
    assert decode_action(json.dumps(record).encode()) == action()


def test_the_schema_names_every_field() -> None:
    assert set(action_schema()["properties"]) == set(IncidentAction.__struct_fields__)


@pytest.mark.parametrize(
    ("match", "covered"),
    [
        (Match(run="gpt-*"), True),
        (Match(run="bert-*"), False),
        (Match(kind="nonfinite_*"), True),
        (Match(team="nlp"), True),
        (Match(team="vision"), False),
        (Match(run="gpt-7b", kind="run_silent"), False),
        (Match(run="gpt-??", team="nlp", kind="*"), True),
    ],
)
def test_a_match_covers_what_all_of_its_patterns_cover(match: Match, covered: bool) -> None:
    assert match.covers("gpt-7b", "nonfinite_loss", "nlp") is covered
    assert Match(team="*").covers("gpt-7b", "nonfinite_loss", None) is False


def test_the_strongest_action_that_holds_comes_first_until_its_time_is_over() -> None:
    book = ActionBook()
    acknowledged, muted = action(until=NOW + 10), action(action=Action.MUTE, until=NOW + 100)
    for each in (acknowledged, muted):
        book.take(each)
    assert book.holding(transition(), NOW) == (acknowledged, muted)
    assert book.holding(transition(), NOW + 10) == (muted,)
    assert book.holding(transition(), NOW + 100) == ()
    assert book.holding(transition(incident="f" * 16), NOW) == ()


def test_a_mute_by_match_holds_for_incidents_to_come_and_can_be_withdrawn() -> None:
    book = ActionBook()
    match = Match(run="gpt-*", team="nlp")
    mute = action(action=Action.MUTE, match=match, until=NOW + 60)
    book.take(mute)
    of_the_team = transition(tags={"team": "nlp"})
    assert book.holding(of_the_team, NOW) == book.mutes(NOW) == (mute,)
    assert book.holding(transition(tags=None), NOW) == ()
    assert book.mutes(NOW + 60) == ()
    book.take(action(action=Action.WITHDRAW, match=match))
    assert book.holding(of_the_team, NOW) == book.mutes(NOW) == ()


def test_a_withdrawal_takes_back_all_that_was_done_before_and_nothing_after() -> None:
    book = ActionBook()
    mark = action(action=Action.FALSE_ALARM)
    book.take(mark)
    assert book.false_alarms() == (mark,)
    book.take(action(action=Action.WITHDRAW))
    assert book.holding(transition(), NOW) == book.false_alarms() == ()
    resolved = action(action=Action.RESOLVE)
    book.take(resolved)
    assert book.holding(transition(), NOW) == (resolved,)
    assert [each.action for each in book.done_with(INCIDENT)] == ["false_alarm", "withdraw", "resolve"]
