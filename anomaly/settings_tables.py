"""Tables of ``anomaly.toml`` as dataclasses: which keys there are, of which type, within which limits.

The same for ``[[receivers]]`` and ``[[routes]]``: a key is a field made by `key`, `problems_of` says everything that
is wrong with a table, and `made` makes of a good one its dataclass.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from anomaly.connection import Secret
from anomaly.settings_row import NEEDED, Check, toml_kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """How one key of a table is read."""

    kind: type
    check: Check | None
    secret: bool
    written: str
    """The key as people write it, where Python's word would be another; empty: as the field."""


def key(
    kind: type, default: Any = MISSING, check: Check | None = None, *, secret: bool = False, written: str = ""
) -> Any:
    """A field of a table's dataclass; without `default` it is needed. `kind` tuple: a list of texts.

    A secret is never written into the table: its ``…_file`` or the environment holds it.
    """
    return field(default=default, metadata={"key": Key(kind, check, secret, written)})


def keys_of(kind: type[Any]) -> dict[str, tuple[str, Key, bool]]:
    """Key as written -> field name, how it is read, and whether it is needed."""
    found = {}
    for entry in fields(kind):
        described: Key = entry.metadata["key"]
        found[described.written or entry.name] = (entry.name, described, entry.default is MISSING)
    return found


def problems_of(kind: type[Any], table: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with `table`, each beginning with the key it speaks of. No secret is repeated."""
    known = keys_of(kind)
    problems = [_unknown(name, known) for name in table if name not in known]
    for written, (_, described, needed) in known.items():
        if written in table:
            problem = _problem(written, described, table[written])
            problems += [f"{written}: {problem}"] if problem else []
        elif needed:
            problems.append(f"{written}: is missing; give it")
    return problems


def made(kind: type[T], table: Mapping[str, Any]) -> T:
    """`table`, in which nothing is wrong, as its dataclass."""
    known = keys_of(kind)
    given = {}
    for written, value in table.items():
        name, described, _ = known[written]
        given[name] = tuple(value) if described.kind is tuple else described.kind(value)
        if described.secret:
            given[name] = Secret(value)
    return kind(**given)


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """``did you mean …?``, or `otherwise` where nothing is near.

    >>> print(nearest("severty", ["severity", "kind"], "give one of those"))
    did you mean severity?
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def each_of(check: Callable[[str], str | None]) -> Check:
    """A check of every text in a list."""

    def check_all(values: Iterable[str]) -> str | None:
        return next((problem for value in values if (problem := check(value))), None)

    return check_all


def _unknown(name: str, known: Mapping[str, tuple[str, Key, bool]]) -> str:
    shown = [written for written, (_, described, _) in known.items() if not described.secret]
    return f"{name}: is no key of this table; {nearest(name, shown, 'there are ' + ', '.join(shown))}"


def _problem(written: str, described: Key, value: Any) -> str | None:
    if described.secret:
        if isinstance(value, Secret):
            return None if value else "is empty in the environment; give the secret"
        return f"is a secret, which a settings file would show to others; give {written}_file, or the environment"
    wrong = _type_problem(described.kind, value)
    if wrong is not None or described.check is None:
        return wrong
    return described.check(value)


def _type_problem(kind: type, value: Any) -> str | None:
    if kind is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            return f'got {toml_kind(value)}, a list of texts is needed; write ["…"]'
        return None if value else "got an empty list; leave the key out, or give what belongs into it"
    if kind is dict:
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
            return f'got {toml_kind(value)}, a table of texts is needed; write {{ name = "…" }}'
        return None if value else "got an empty table; leave the key out, or give what belongs into it"
    allowed = (float, int) if kind is float else kind
    if isinstance(value, allowed) and (kind is bool or not isinstance(value, bool)):
        return None
    return f"got {toml_kind(value)}, {NEEDED[kind]}"
