"""A connection as settings, and as a command's environment and flags."""

from __future__ import annotations

from dataclasses import fields

import pytest

from anomaly.connection import Connection
from anomaly.settings import Settings


def settings_of(connection: Connection) -> Settings:
    return Settings(**{field.name: getattr(connection, field.name) for field in fields(Connection)})


def environment_and_flags(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`connection` as a person would give it: the password in the environment, the rest as flags."""
    monkeypatch.setenv("ANOMALY_SASL_PASSWORD", str(connection.sasl_password))
    given = {field.name: getattr(connection, field.name) for field in fields(Connection)}
    del given["sasl_password"]
    return [part for name, text in given.items() if text for part in ("--" + name.replace("_", "-"), text)]
