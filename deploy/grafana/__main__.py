"""``python -m deploy.grafana`` writes the dashboards' JSON beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.detector import detector
from deploy.grafana.fleet import fleet
from deploy.grafana.one_run import one_run

FOLDER = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, str]:
    """File name to JSON, as Grafana provisions it."""
    return {
        "training-fleet.json": _text(fleet()),
        "one-run.json": _text(one_run()),
        "detector.json": _text(detector()),
    }


def _text(board: Dashboard) -> str:
    made: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(board.build()))
    for annotation in made.get("annotations", {}).get("list", []):
        # How an annotation from Prometheus reads: the library's types do not know these two.
        annotation |= {"titleFormat": "{{kind}}", "tagKeys": "severity"}
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
