"""``anomaly config``: every effective setting with its origin; secrets as stars."""

from __future__ import annotations

import argparse
import json
import os
import sys

from anomaly.connection import MASKED
from anomaly.pace import budget_text
from anomaly.settings import ROWS
from anomaly.settings_row import masked
from anomaly.settings_sources import Loaded, add_flags, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("--json", action="store_true", help="one JSON object: setting -> value and origin")
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print the settings to stdout, as TOML or JSON."""
    loaded = load(vars(options), os.environ)
    sys.stdout.write(f"{json.dumps(_object(loaded), indent=2) if options.json else loaded.shown()}\n")
    if not options.json:
        budget = budget_text(loaded.settings.false_warnings_per_million_steps)
        sys.stderr.write(f"the budget: {budget}; anomaly runs show RUN has it at that run's pace\n")
    return 0


def _object(loaded: Loaded) -> dict[str, dict[str, object]]:
    found = {}
    for row in ROWS.values():
        value = getattr(loaded.settings, row.name)
        shown = MASKED if row.secret and value else masked(value)
        found[row.name] = {"value": shown, "origin": loaded.origins.get(row.name, "default")}
    return found
