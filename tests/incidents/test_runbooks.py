"""Kinds and runbooks in step: one runbook a kind, its parts filled, and what it names exists."""

from __future__ import annotations

import re
import shlex

import pytest

from anomaly.cli import COMMANDS, _parser
from anomaly.incidents import KINDS, Kind
from anomaly.signals import LAYER_SIGNALS, MODEL_SIGNALS
from tests.repository import REPOSITORY

FOLDER = REPOSITORY / "docs" / "runbooks"
PARTS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
EVENTS = {"pause", "finished", "data_mix", "world_size", "lr_schedule"}
CODE = {"no_grad", "zero_grad", "strict"}
"""Words of frameworks, which are in backticks, too."""
LEAST_LINES = 10
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def text_of(kind: Kind) -> str:
    return (REPOSITORY / kind.runbook).read_text("utf-8")


def parts_of(text: str) -> dict[str, str]:
    found = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_there_is_a_runbook_for_every_kind_and_for_nothing_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{kind}.md" for kind in KINDS}


@every_kind
def test_a_runbook_has_its_four_parts_each_with_something_in_it(kind: Kind) -> None:
    text = text_of(kind)
    head, parts = text.split("\n## ", 1)[0], parts_of(text)
    assert head.splitlines()[0] == f"# {kind.title}"
    assert f"Kind `{kind.name}`, severity {kind.severity}; " in head
    assert list(parts) == PARTS
    assert all(len(part.split()) >= 8 for part in parts.values())
    assert sum(bool(line.strip()) for part in parts.values() for line in part.splitlines()) >= LEAST_LINES


@every_kind
def test_diagnosis_is_in_an_order_and_mitigation_a_choice(kind: Kind) -> None:
    parts = parts_of(text_of(kind))
    numbers = re.findall(r"^(\d+)\. ", parts["Diagnosis"], re.MULTILINE)
    assert len(numbers) >= 3
    assert numbers == [str(number + 1) for number in range(len(numbers))]
    assert len(re.findall(r"^- ", parts["Mitigation"], re.MULTILINE)) >= 2


@every_kind
def test_what_a_runbook_links_to_exists(kind: Kind) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(kind)):
        path, _, anchor = target.partition("#")
        page = (FOLDER / path).resolve().read_text("utf-8")
        assert not anchor or re.search(rf"^## {anchor}$", page, re.MULTILINE), target


@every_kind
def test_the_commands_that_a_runbook_names_are_those_that_there_are(kind: Kind) -> None:
    for line in re.findall(r"`anomaly ([^`]+)`", text_of(kind)):
        arguments = shlex.split(line.replace("…", "because"))
        assert arguments[0] in COMMANDS
        _parser(arguments).parse_args(arguments)


@every_kind
def test_the_kinds_signals_and_events_that_a_runbook_names_exist(kind: Kind) -> None:
    known = {*KINDS, *MODEL_SIGNALS, *LAYER_SIGNALS, *EVENTS, *CODE}
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)\b", text_of(kind)))
    assert words <= known


def test_no_two_runbooks_share_a_part() -> None:
    parts = [part for kind in KINDS.values() for part in parts_of(text_of(kind)).values()]
    assert len(set(parts)) == len(parts)
