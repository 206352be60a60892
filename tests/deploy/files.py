"""What stands in deploy/, read as whoever runs it would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def read_yaml(path: Path) -> Any:
    """The document in `path`."""
    return yaml.safe_load(path.read_text("utf-8"))


def rules(name: str) -> list[dict[str, Any]]:
    """All rules of ``deploy/prometheus/<name>.yml``."""
    return [
        rule
        for group in read_yaml(DEPLOY / "prometheus" / f"{name}.yml")["groups"]
        for rule in group["rules"]
    ]
