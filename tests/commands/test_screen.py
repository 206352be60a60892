"""What comes from outside is shown, never obeyed."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console, RenderableType

from anomaly.escapes import json_line, shown
from anomaly.incidents.transition import Severity, Status
from anomaly.screen import card, line, transitions_table
from tests.commands.transitions import transition

HOSTILE = "[red]a[/red]\x1b[31m\x1b]0;title\x07\u202eb\u2066\r\nc\u200b"
ESCAPED = r"[red]a[/red]\x1b[31m\x1b]0;title\x07\u202eb\u2066\r\nc\u200b"


def printed(what: RenderableType, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=400, force_terminal=terminal, color_system=None, markup=True).print(what)
    return out.getvalue()


@pytest.mark.parametrize("show", [card, line, lambda one: transitions_table([one])])
def test_a_hostile_name_is_shown_escaped_wherever_it_stands(show: object) -> None:
    assert callable(show)
    names = dict.fromkeys(("run", "layer", "statistic", "summary", "advice", "runbook", "incident"), HOSTILE)
    text = printed(show(transition(kind="brand_new", layers=(HOSTILE, HOSTILE + "2"), **names)))
    assert ESCAPED in text
    for harmful in ("\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\r"):
        assert harmful not in text


def test_an_unknown_kind_is_shown_by_its_name_escaped() -> None:
    assert r"new\x1b[1m kind" in printed(card(transition(kind="new\x1b[1m_kind")))


def test_a_long_name_is_cut() -> None:
    assert shown("x" * 1000) == "x" * 199 + "…"


def test_a_json_line_is_the_same_json_and_nothing_in_it_moves_a_terminal() -> None:
    text = json.dumps({"run": HOSTILE + "\x9b1m\x7f\U000e0001 é 损失"}, ensure_ascii=False)
    assert json.loads(json_line(text)) == json.loads(text)
    assert json_line(text).isprintable()
    assert "é 损失" in json_line(text)


def test_a_card_says_what_where_when_and_what_to_do() -> None:
    text = printed(card(transition(), [("told", "12 ms after")]))
    for part in (
        "CRITICAL", "Non-finite weights", "gpt-7b", "h.3.mlp, rank 3", "h.4.attn", "step 118, seen at step 120",
        "NaN, expected about 19.2", "last good step 117, last checkpoint 100", "Stop the run.",
        "docs/runbooks/nonfinite_weight.md", "12 ms after",
    ):  # fmt: skip
        assert part in text


def test_a_resolved_incident_asks_for_nothing() -> None:
    text = printed(card(transition(status=Status.RESOLVED, severity=Severity.INFO)))
    assert "Stop the run" not in text
