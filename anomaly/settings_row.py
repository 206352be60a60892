"""One setting as flags, environment, ``anomaly config`` and the documentation show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anomaly.connection import MASKED, Secret

Check = Callable[[Any], str | None]
"""What is wrong with a value and what to do about it, or None."""

NEEDED = {
    str: "text is needed; put it in quotes",
    int: "a whole number is needed",
    float: "a number is needed",
    bool: "true or false is needed",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as flags, environment and documentation show it."""

    name: str
    kind: type
    default: Any
    help: str
    check: Check | None
    secret: bool
    flag: bool

    @property
    def option(self) -> str:
        """``--metrics-address``."""
        return "--" + self.name.replace("_", "-")

    @property
    def on_command_line(self) -> bool:
        """Whether it is a flag."""
        return self.flag and not self.secret

    @property
    def environment(self) -> str:
        """``ANOMALY_METRICS_ADDRESS``."""
        return "ANOMALY_" + self.name.upper()

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value` and what to do about it, or None. A secret is not repeated."""
        problem = self.type_problem(value)
        if problem is None and self.check is not None:
            problem = self.check(value)
        return problem.replace(repr(value), MASKED) if problem is not None and self.secret else problem

    def type_problem(self, value: Any) -> str | None:
        """What is wrong with the type of `value`, or None. A whole number is a number; true is none."""
        allowed = (float, int) if self.kind is float else self.kind
        if isinstance(value, allowed) and (self.kind is bool or not isinstance(value, bool)):
            return None
        if self.kind is tuple:  # what it holds is not repeated: there may be a secret in it
            return f"got {toml_kind(value)}, a list of tables is needed; write [[{self.name}]]"
        return f"got {MASKED if self.secret else repr(value)}, {NEEDED[self.kind]}"

    def shown(self, value: Any) -> str:
        """The value as ``anomaly config`` prints it, in TOML; a secret that is set shows as stars."""
        if self.secret and value:
            return f'"{MASKED}"'
        return toml_text(value)


def toml_kind(value: Any) -> str:
    """What TOML calls the type of `value`, with its article.

    >>> print(toml_kind({}), toml_kind(1.0), toml_kind(True))
    a table a number true or false
    """
    for kind, text in _KINDS:
        if isinstance(value, kind):
            return text
    return f"a {type(value).__name__}"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (Mapping, "a table"),
    ((list, tuple), "a list"),
)


def masked(value: Any) -> Any:
    """`value` with stars for every secret in it, at any depth.

    >>> masked(({"name": "oncall", "routing_key": Secret("hunter2")},))
    [{'name': 'oncall', 'routing_key': '********'}]
    """
    if isinstance(value, Secret):
        return MASKED if value else ""
    if isinstance(value, Mapping):
        return {key: masked(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [masked(entry) for entry in value]
    return value


def toml_text(value: Any) -> str:
    """`value` as TOML.

    >>> print(toml_text("a"), toml_text(True), toml_text(({"detector": "ADWIN"},)))
    "a" true [{ detector = "ADWIN" }]
    """
    value = masked(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_text(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_text(entry) for entry in value) + "]"
    return repr(value)
