"""A profile: what ``anomaly calibrate`` learned from a team's healthy runs, as a JSON file that the worker loads.

    {"format": "training-anomaly profile", "version": 1, "charts": 1,
     "made_by": "anomaly 0.1.0", "made_unix_seconds": 1790000000,
     "learned_from": {"runs": ["gpt-1", …], "run_count": 12, "steps": 120000, "left_out": [{"run": …, "why": …}]},
     "measured": {"asked_per_million_steps": 10.0, "false_warnings": 2, "steps": 120000},
     "tails": [{"chart": "spike", "kind": "gradient", "threshold": …, …}]}

Only `tails` is judged by (`detectors.tails`); the rest says where they come from. `charts` is the version of the charts
whose scores they are: tails of another version would be levels for something else, so they are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from anomaly.errors import SettingsError
from anomaly.monitor.limits import Limits, limits_of
from anomaly.settings import Settings
from detectors.tails import CHARTS_VERSION, NO_TAILS, Tails, tails_of

FORMAT = "training-anomaly profile"
VERSION = 1
MAX_BYTES = 4 << 20


def judging_limits(settings: Settings) -> Limits:
    """The limits as the settings have them, with the tails of the profile they name. Raises `SettingsError`."""
    limits = limits_of(settings)
    return replace(limits, tails=read_tails(settings.profile)) if settings.profile else limits


@cache
def read_tails(path: str) -> Tails:
    """The tails of a profile; read once, so that a file replaced later changes nothing. Raises `SettingsError`."""
    try:
        return tails_of(_tails_in(_content(Path(path))))
    except ValueError as error:
        raise SettingsError([f"profile: {path}: {error}; make it anew with anomaly calibrate"]) from None


def profile_text(tails: Tails, about: Mapping[str, Any]) -> str:
    """The file's text. `about`: made_by, made_unix_seconds, learned_from and measured."""
    head = {"format": FORMAT, "version": VERSION, "charts": CHARTS_VERSION}
    return json.dumps({**head, **about, "tails": tails.as_json()}, indent=1, allow_nan=False) + "\n"


def name_of(tails: Tails) -> str:
    """How people tell profiles apart."""
    return "as shipped" if tails == NO_TAILS else f"profile {tails.identity}"


def _content(path: Path) -> object:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            [
                f"profile: {path}: cannot be read ({error.strerror}); give the file that anomaly calibrate wrote"
            ]
        ) from None
    if len(raw) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES} bytes, which no profile has")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("is not JSON that anomaly calibrate wrote") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None


def _tails_in(content: object) -> object:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"format: got {got!r}, {FORMAT!r} is needed")
    for name, known in (("version", VERSION), ("charts", CHARTS_VERSION)):
        if content.get(name) != known:
            raise ValueError(f"{name}: got {content.get(name)!r}, this anomaly reads {known}")
    if "tails" not in content:
        raise ValueError("tails: missing")
    tails: object = content["tails"]
    return tails
