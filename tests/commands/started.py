"""Commands as a person starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.repository import REPOSITORY


def start(*arguments: str | Path, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "anomaly", *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
