"""The benchmark cannot pass by leaving something out: what is missing, not measured or too slow fails it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.gates import GATES, complaints
from benchmarks.processes import Broker
from benchmarks.results_page import PAGE, replace_section
from benchmarks.rows import Row, markdown, row, table, write
from benchmarks.sections import Bench, Section, wanted_rows

BROKER = Broker("none", "127.0.0.1:1", False)


def test_every_gate_is_a_row_of_exactly_one_section() -> None:
    rows = [name for section in program.SECTIONS for name in section.rows]
    assert len(set(rows)) == len(rows)
    assert set(GATES) <= set(rows)


def test_a_full_run_measures_every_gate_but_those_that_take_long() -> None:
    long = {name for section in program.SECTIONS if section.long for name in section.rows}
    assert set(GATES) - set(wanted_rows(program.SECTIONS, (), long=False)) == set(GATES) & long
    assert set(GATES) <= set(wanted_rows(program.SECTIONS, (), long=True))


def test_a_row_is_judged_by_its_gate() -> None:
    assert row("cold_start", 5.0, "s").ok is True
    assert row("cold_start", 5.001, "s").ok is False
    assert row("throughput_1k", 20e6, "x").ok is True
    assert row("throughput_1k", 19.9e6, "x").ok is False
    assert row("somewhat", 1.0, "ms") == Row("somewhat", 1.0, "ms")


@pytest.mark.parametrize("value", [None, math.nan])
def test_what_could_not_be_measured_has_failed_also_without_a_target(value: float | None) -> None:
    assert row("a", value, "ms") == Row("a", None, "ms", None, False)
    assert row("cold_start", value, "s") == Row("cold_start", None, "s", "≤ 5", False)


def test_each_way_to_fail_is_said() -> None:
    rows = [row("cold_start", 9.0, "s"), row("snapshot_pause", None, "ms"), row("cost_growth", 1.0, "ratio")]
    wanted = ("cold_start", "snapshot_pause", "cost_growth", "memory_per_series")
    assert complaints(rows, wanted) == [
        "cold_start misses its target: 9 s, wanted ≤ 5",
        "snapshot_pause could not be measured",
        "memory_per_series is missing",
    ]


def test_results_have_exactly_the_promised_fields(tmp_path: Path) -> None:
    write(
        [row("cold_start", 1.5, "s"), row("cost_growth", None, "ratio"), row("c", 3.0, "ms")], tmp_path / "r"
    )
    assert json.loads((tmp_path / "r").read_text("utf-8")) == [
        {"name": "cold_start", "value": 1.5, "unit": "s", "target": "≤ 5", "ok": True},
        {"name": "cost_growth", "value": None, "unit": "ratio", "target": "≤ 2", "ok": False},
        {"name": "c", "value": 3.0, "unit": "ms", "target": None, "ok": None},
    ]


def test_a_part_of_the_rows_may_be_asked_for_by_row_or_section() -> None:
    sections = [Section("one", ("a", "b"), lambda _: []), Section("two", ("c",), lambda _: [], long=True)]
    assert wanted_rows(sections, (), long=False) == ["a", "b"]
    assert wanted_rows(sections, (), long=True) == ["a", "b", "c"]
    assert wanted_rows(sections, {"b", "two"}, long=False) == ["b", "c"]
    with pytest.raises(ValueError, match="unknown row or section d; known: a, b, c, one, two"):
        wanted_rows(sections, {"d"}, long=False)


def test_a_section_that_leaves_out_a_row_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.verdict([row("cold_start", 1.0, "s")], ["cold_start", "snapshot_pause"]) == 1
    assert "FAILED: snapshot_pause is missing" in capsys.readouterr().out


def test_a_part_of_the_run_says_what_it_did_not_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.verdict([row("cold_start", 1.0, "s")], ["cold_start"]) == 0
    said = capsys.readouterr().out
    assert "not measured in this run: " in said
    assert "throughput_1k" in said


def test_a_section_that_fails_gives_rows_that_say_so() -> None:
    def broken(_: Bench) -> list[Row]:
        raise RuntimeError("no worker")

    remarks: list[str] = []
    bench = Bench(BROKER, Path(), frozenset({"cold_start"}), True, remarks)
    rows = program.measure(Section("part", ("cold_start", "snapshot_pause"), broken), bench)
    assert rows == [Row("cold_start", None, "", "≤ 5", False)]
    assert remarks == ["part could not be measured: no worker"]


def test_only_a_full_run_writes_results(tmp_path: Path) -> None:
    assert program.options([]).output == program.RESULTS
    assert program.options(["cold_start"]).output is None
    assert program.options(["--quick"]).output is None
    assert program.options(["cold_start,cost_growth"]).wanted == ["cold_start", "cost_growth"]
    assert program.options(["cold_start", "--output", str(tmp_path / "r")]).output == tmp_path / "r"


def test_a_section_of_the_page_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text(
        "# A\n<!-- begin bench -->\nold\n<!-- end bench -->\nkept\n<!-- begin fuzz -->\n<!-- end fuzz -->\n"
    )
    replace_section("bench", "new | figures\n", page)
    replace_section("bench", "newer", page)
    assert page.read_text() == (
        "# A\n<!-- begin bench -->\nnewer\n<!-- end bench -->\nkept\n<!-- begin fuzz -->\n<!-- end fuzz -->\n"
    )
    with pytest.raises(ValueError, match="begin chaos"):
        replace_section("chaos", "x", page)


def test_the_page_has_room_for_every_kind_of_figure() -> None:
    for name in ("bench", "chaos", "fuzz"):
        assert f"<!-- begin {name} -->" in PAGE.read_text("utf-8")


def test_tables_show_what_failed() -> None:
    rows = [row("cold_start", 9.0, "s", "warm"), row("snapshot_pause", None, "ms")]
    assert "MISSED" in table(rows)
    assert "FAILED" in table(rows)
    assert markdown(rows).splitlines()[2] == "| `cold_start` | 9 | s | ≤ 5 | MISSED | warm |"
