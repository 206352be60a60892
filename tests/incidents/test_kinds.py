from __future__ import annotations

import re

import pytest

from anomaly.incidents import KINDS, Kind
from anomaly.incidents.kinds_page import kinds_page
from anomaly.monitor.meaning import GENERIC, MEANINGS
from tests.repository import REPOSITORY

PAGE = REPOSITORY / "docs" / "kinds.md"


def test_the_page_of_kinds_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == kinds_page(), (
        "write it anew: python -m anomaly.incidents.kinds_page > docs/kinds.md"
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_says_what_to_do_and_has_its_heading(kind: Kind) -> None:
    assert re.search(rf"^## {kind.name}$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert kind.title
    assert kind.advice.endswith(".")


def test_every_kind_that_a_chart_can_raise_is_in_the_table_and_says_how_it_is_found() -> None:
    for meaning in (*MEANINGS.values(), GENERIC):
        for kind in (meaning.up, meaning.down):
            assert kind is None or KINDS[kind].found_by
