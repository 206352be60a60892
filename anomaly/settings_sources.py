"""Where settings come from: defaults < ``anomaly.toml`` < ``ANOMALY_*`` environment < flags.

`load` reads all four and raises one `SettingsError` with every problem, each with the place it came from.
"""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from anomaly.errors import SettingsError
from anomaly.settings import ROWS, Settings
from anomaly.settings_receivers import with_secrets
from anomaly.settings_row import Row

FILE_NAME = "anomaly.toml"
FILE_VARIABLE = "ANOMALY_CONFIG"

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Effective settings and where each that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]

    def shown(self) -> str:
        """What ``anomaly config`` prints: TOML with each value's origin as a comment and secrets as stars."""
        lines = []
        for row in ROWS.values():
            origin = self.origins.get(row.name, "default")
            lines.append(f"{row.name} = {row.shown(getattr(self.settings, row.name))}  # {origin}")
        return "\n".join(lines)


def add_flags(parser: argparse.ArgumentParser, names: Collection[str] | None = None) -> None:
    """Give `parser` a flag for each setting (or those in `names`), and ``--config FILE``.

    Values stay text and absent flags None, so that `load` can list every problem together.
    """
    group = parser.add_argument_group(
        "settings", f"each also as ANOMALY_… in the environment and in {FILE_NAME}"
    )
    group.add_argument(
        "--config", metavar="FILE", help=f"settings file (default: {FILE_NAME} in the current folder)"
    )
    for row in ROWS.values():
        if not row.flag or (names is not None and row.name not in names):
            continue
        if row.secret:
            group.add_argument(row.option, action=_NoFlag, help=argparse.SUPPRESS)
            continue
        text = row.help.replace("%", "%%")
        if row.kind is bool:
            group.add_argument(
                row.option, dest=row.name, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            group.add_argument(
                row.option,
                dest=row.name,
                metavar="VALUE",
                help=f"{text} (default: {row.default})".replace("()", ""),
            )


class _NoFlag(argparse.Action):
    """Refuses a secret on the command line without repeating it; otherwise it would abbreviate the flag of its file."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            f"{self.option_strings[0]} is no flag, because everyone on this machine can read command lines; give "
            f"ANOMALY_{self.dest.upper()} or {self.option_strings[0]}-file"
        )


def load(flags: Mapping[str, Any], environment: Mapping[str, str], folder: Path | None = None) -> Loaded:
    """Effective settings from all sources.

    `flags` are an argparse namespace's `vars`; entries that are no setting, or None, are passed over. The file is
    ``--config``, else ``ANOMALY_CONFIG``, else ``anomaly.toml`` in `folder` (the current one), where there is one.
    Raises `SettingsError`.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, found in (
        *_from_file(flags.get("config") or environment.get(FILE_VARIABLE), folder or Path(), problems),
        *_from_environment(environment, problems),
        *_from_flags(flags, problems),
    ):
        values.update(found)
        origins.update(dict.fromkeys(found, origin))
    if "receivers" in values:
        values["receivers"] = with_secrets(values["receivers"], environment)
    try:
        settings = Settings(**values)
    except SettingsError as error:
        problems += [_with_origin(problem, origins) for problem in error.problems]
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins)


def _with_origin(problem: str, origins: Mapping[str, str]) -> str:
    name, _, text = problem.partition(": ")
    return f"{name} ({origins.get(name, 'default')}): {text}"


def _from_file(named: str | None, folder: Path, problems: list[str]) -> list[tuple[str, dict[str, Any]]]:
    path = Path(named) if named else folder / FILE_NAME
    if not named and not path.is_file():
        return []
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(
            f"{path}: cannot be read ({error.strerror}); give a file that exists, or leave --config out"
        )
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not TOML ({error}); correct that place")
        return []
    return [(str(path), _known(path, content, problems))]


def _known(path: Path, content: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key not in ROWS:
            near = difflib.get_close_matches(key, ROWS, n=1)
            hint = f"did you mean {near[0]}?" if near else "run anomaly config for the list"
            problems.append(f"{key} ({path}): is no setting; {hint}")
            continue
        if ROWS[key].kind is tuple and isinstance(value, list):
            value = tuple(value)
        found[key] = value
    return _of_right_type(found, str(path), problems)


def _of_right_type(found: dict[str, Any], origin: str, problems: list[str]) -> dict[str, Any]:
    """`found` without what has a wrong type, so that one mistake is reported once."""
    kept = {}
    for name, value in found.items():
        problem = ROWS[name].type_problem(value)
        if problem is None:
            kept[name] = value
        else:
            problems.append(f"{name} ({origin}): {problem}")
    return kept


def _from_environment(
    environment: Mapping[str, str], problems: list[str]
) -> list[tuple[str, dict[str, Any]]]:
    # Unknown ANOMALY_* names are no error: Kubernetes invents such variables for every service called anomaly-….
    return [
        (row.environment, _parsed(row, environment[row.environment], row.environment, problems))
        for row in ROWS.values()
        if row.flag and row.environment in environment
    ]


def _from_flags(flags: Mapping[str, Any], problems: list[str]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (row.option, _parsed(row, flags[row.name], row.option, problems))
        for row in ROWS.values()
        if row.on_command_line and flags.get(row.name) is not None
    ]


def _parsed(row: Row, raw: Any, origin: str, problems: list[str]) -> dict[str, Any]:
    """`raw` text as the setting's type; nothing, and a problem noted, where it is not one."""
    if not isinstance(raw, str):
        return _of_right_type({row.name: raw}, origin, problems)
    try:
        return {row.name: _value(row.kind, raw)}
    except ValueError:
        problems.append(f"{row.name} ({origin}): {row.type_problem(raw)}")
        return {}


def _value(kind: type, raw: str) -> Any:
    if kind is bool:
        if raw.lower() in _TRUE:
            return True
        if raw.lower() in _FALSE:
            return False
        raise ValueError(raw)
    return kind(raw)
