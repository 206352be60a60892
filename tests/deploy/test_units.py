"""The systemd units."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import available
from tests.deploy.files import DEPLOY
from tests.install_servers import systemd_analyze

UNITS = sorted(path.name for path in DEPLOY.glob("*.service"))


def test_there_is_one_for_the_worker_and_one_for_the_notifier() -> None:
    assert UNITS == ["anomaly-notifier.service", "anomaly-worker.service"]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    assert "ExecStart=/opt/anomaly/bin/anomaly " in text
    (tmp_path / name).write_text(text.replace("/opt/anomaly/bin/anomaly", sys.executable))  # it must exist
    command = [available(request.config, systemd_analyze), "verify", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_restarts_except_where_that_cannot_help(name: str) -> None:
    lines = (DEPLOY / name).read_text("utf-8").splitlines()
    assert {
        "Restart=always",
        "RestartPreventExitStatus=2",
        "StartLimitIntervalSec=0",
        "DynamicUser=yes",
    } <= set(lines)
