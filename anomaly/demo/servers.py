"""The demo's servers: the development broker, and a worker that is started again whenever it dies.

Each process is in a session of its own, so that Ctrl-C in a terminal reaches the demo alone, which then ends them in
order. They are ended by process id, and nothing else is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from anomaly.broker import DevelopmentBroker, free_port
from anomaly.errors import AnomalyError

PARTITIONS = 4
REFUSED = 2
START_AGAIN_SECONDS = 0.5
STOP_SECONDS = 6.0
LOOK_SECONDS = 0.1


class SupervisedWorker:
    """``anomaly worker`` as a child, for as long as this context is open.

    `tell` hears of each start and each death. The worker's own words are in `log`.
    """

    def __init__(self, broker: DevelopmentBroker, folder: Path, tell: Callable[[str], None]) -> None:
        self._metrics = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._tell = tell
        self._command = [
            sys.executable, "-m", "anomaly", "worker", "--development-broker",
            "--bootstrap-servers", broker.bootstrap_servers,
            "--data-dir", str(folder / "worker"),
            "--metrics-address", self._metrics,
            "--partitions", str(PARTITIONS),
        ]  # fmt: skip
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._refused = False
        self.starts = 0

    @property
    def log(self) -> Path:
        """The file with what the worker said."""
        return self._folder / "worker.log"

    @property
    def pid(self) -> int:
        """Its process id now; 0 while it is not running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def is_ready(self) -> bool:
        """Whether it has its partitions and their states. Raises `AnomalyError` once it has refused to run."""
        if self._refused:
            raise AnomalyError(f"the worker refuses to run: {self.last_words()}")
        return self._get("readyz") is not None

    def step_of(self, run: str) -> float | None:
        """The newest step of `run` that it has judged, None where it does not say."""
        start = f'anomaly_run_step{{run="{run}"}} '
        lines = (self._get("metrics") or "").splitlines()
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), None)

    def last_words(self) -> str:
        """The end of its log."""
        return (
            self.log.read_text(errors="replace")[-2000:].strip() if self.log.exists() else "it said nothing"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(2 * STOP_SECONDS)

    def _supervise(self) -> None:
        with self.log.open("ab") as log:
            while not self._stopping.is_set():
                process = self._process = self._started(log)
                if self.starts > 1:
                    self._tell(f"started a worker again (pid {process.pid})")
                while process.poll() is None and not self._stopping.wait(LOOK_SECONDS):
                    pass
                if process.poll() is None:
                    _stop(process)
                elif process.returncode == REFUSED:  # by settings or preflight: it would refuse again
                    self._refused = True
                    return
                elif not self._stopping.is_set():
                    self._tell(f"the worker ended with status {process.returncode}")
                    self._stopping.wait(START_AGAIN_SECONDS)

    def _started(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        self.starts += 1
        return subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://{self._metrics}/{path}", timeout=2) as answer:
                text: str = answer.read().decode()
                return text
        except (OSError, urllib.error.URLError):
            return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """This process's, without settings of the user's own: the demo is the same everywhere."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ANOMALY_")}
    sources = str(Path(__file__).parents[2])  # run from a source tree, the child would not find the package
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (sources, kept.get("PYTHONPATH"))))
    return kept
