"""What stands in deploy/, read as whoever runs it would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.repository import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


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


def scrape_config(folder: Path, addresses: dict[str, str]) -> Path:
    """The shipped configuration, with where the servers of this test are, and ten times as fast."""
    text = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    text["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    text["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in text["rule_files"]]
    for job in (*text["alerting"]["alertmanagers"], *text["scrape_configs"]):
        for group in job["static_configs"]:
            group["targets"] = [addresses[each] for each in group["targets"] if each in addresses]
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(text))
    return path
