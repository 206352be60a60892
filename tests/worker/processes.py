"""A real worker or notifier as a process, and a supervisor that starts it again when it was killed or asks for that."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.repository import REPOSITORY

READY_SECONDS = 60.0
LOOK_SECONDS = 0.05
RESTART_SECONDS = 0.2
FINAL = (0, 2)
"""What no supervisor starts again: stopped as asked, and refused."""


def eventually(what: str, look: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """Return once `look` says yes; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(LOOK_SECONDS)


class WorkerProcess:
    """``anomaly worker`` with the given flags; its log in a file. As a context manager it is gone at the end."""

    command = "worker"
    address_flag = "--metrics-address"

    def __init__(
        self,
        folder: Path,
        *flags: str,
        supervised: bool = True,
        environment: Mapping[str, str] | None = None,
        first_environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to this process's own, `first_environment` at the next start alone."""
        self.folder = folder
        self.environment = dict(environment or {})
        self.first_environment = dict(first_environment or {})
        self.log = folder / f"{self.command}-{id(self)}.log"
        self.exit_codes: list[int] = []
        self._flags = [
            *flags,
            "--data-dir",
            str(folder / f"data-{id(self)}"),
            self.address_flag,
            "127.0.0.1:0",
        ]
        self._wanted = supervised
        self._supervised = supervised
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Start the process and watch over it; also once more, after `terminate`."""
        self._supervised = self._wanted
        self._supervised_start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def wait_ready(self, seconds: float = READY_SECONDS) -> Self:
        """Return once the present process says that it is ready."""
        eventually(
            "the worker is ready", lambda: self.text.count(" ready: ") >= 1 and self.is_ready(), seconds
        )
        return self

    def is_ready(self) -> bool:
        """What /readyz says; False when nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, IndexError):
            return False

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name and labels as they stand there."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().split("\n")  # a run's name may hold what else ends a line
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    @property
    def address(self) -> str:
        """The latest one in the log: every start takes a free port."""
        addresses: list[str] = re.findall(r"(http://[^ ]+)/metrics", self.text)
        return addresses[-1]

    @property
    def text(self) -> str:
        """The log so far, over all starts."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def pid(self) -> int:
        """Of the present process, or the last one."""
        assert self._process is not None
        return self._process.pid

    def send_signal(self, which: signal.Signals) -> None:
        """Send the present process a signal, SIGSTOP and SIGCONT for instance."""
        assert self._process is not None
        self._process.send_signal(which)

    def kill(self) -> None:
        """SIGKILL, as soon as there is a process to kill; the supervisor starts it again."""
        eventually("it was started again", lambda: self._process is not None and self._process.poll() is None)
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> float:
        """SIGTERM; the seconds until it was gone."""
        began = time.monotonic()
        self._end(signal.SIGTERM, 30)
        return time.monotonic() - began

    def wait(self, seconds: float = READY_SECONDS) -> int:
        """The exit code of a process that ends by itself."""
        assert self._thread is not None
        self._thread.join(seconds)
        return self.exit_codes[-1]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGKILL, 10)
        if error is not None:
            sys.stderr.write(self.text)

    def _end(self, which: signal.Signals, seconds: float) -> None:
        """Send the signal once, also to a process that is only being started."""
        self._supervised = False
        reached = None
        deadline = time.monotonic() + seconds
        while self._thread is not None and self._thread.is_alive() and time.monotonic() < deadline:
            if self._process is not None and self._process is not reached:
                reached = self._process
                reached.send_signal(which)
            self._thread.join(LOOK_SECONDS)

    def _supervised_start(self) -> None:
        command = [sys.executable, "-m", "anomaly", self.command, *self._flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | self.environment | self.first_environment,
            )
        self.first_environment = {}

    def _watch(self) -> None:
        while self._process is not None:
            self.exit_codes.append(self._process.wait())
            if not self._supervised or self.exit_codes[-1] in FINAL:
                return
            time.sleep(RESTART_SECONDS)
            if not self._supervised:
                return
            self._supervised_start()


class NotifierProcess(WorkerProcess):
    """``anomaly notify``, the same way."""

    command = "notify"
    address_flag = "--notify-metrics-address"
