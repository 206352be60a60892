"""A change in any module that the kernel is compiled from is a change of its key in numba's cache."""

from __future__ import annotations

import ast
import importlib
import inspect
import runpy
from pathlib import Path
from types import ModuleType

from detectors import sources, tiles
from detectors.sources import digits_of

WHOLE = """
from numba import njit

def compiled(made_from):
    @njit(cache=True)
    def twice(x):
        assert made_from
        return 2 * x
    return twice
"""


def _imported(module: ModuleType) -> set[str]:
    """The modules of the package that this one imports from, and those that they do."""
    found = set[str]()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found.union(*(_imported(importlib.import_module(f"detectors.{name}")) for name in found))


def test_the_judge_of_a_record_holds_the_digits_of_all_it_is_compiled_from() -> None:
    names = sorted(_imported(tiles) - {sources.__name__.rpartition(".")[2]})
    assert names == ["kernel", "lanes", "profiles", "rows"]
    digits = digits_of(*(importlib.import_module(f"detectors.{name}") for name in names))
    assert [cell.cell_contents for cell in tiles.judge_tiles.py_func.__closure__] == [digits]


def test_digits_change_with_any_module() -> None:
    assert len({digits_of(tiles), digits_of(sources), digits_of(tiles, sources)}) == 3


def test_the_cache_has_what_was_compiled_from_the_same_digits_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "whole.py"
    file.write_text(WHOLE)
    compiled = runpy.run_path(str(file))["compiled"]
    hits = []
    for digits in ("0a", "0a", "0b"):
        function = compiled(digits)
        assert function(21) == 42
        hits.append(sum(function.stats.cache_hits.values()))
    assert hits == [0, 1, 0]
