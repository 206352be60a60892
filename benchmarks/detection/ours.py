"""A run through our monitor, on the replay's path; remembered until the run, the code or the budget changes.

Each run is judged alone by a new monitor. What it raised is kept as lines of JSON in ``.cache/scores``, so that a
second look at the same code costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import anomaly
import detectors
from anomaly.incidents.transition import Transition, decode_transition

PROCESSES = 2
NICENESS = 10
KEPT_CODES = 24
"""States of the code whose results are kept; the oldest go."""
ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "scores"
_JUDGING = ("monitor", "incidents", "replay", "records.py", "signals.py", "json_records.py")
"""What of `anomaly` decides what is raised."""


@cache
def code_hash() -> str:
    """16 hexadecimal digits of all code (and its data) that decides what is raised."""
    folder = Path(anomaly.__file__).parent
    parts = [folder / name for name in _JUDGING] + [Path(detectors.__file__).parent]
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        files = [part] if part.is_file() else sorted(part.rglob("*"))
        for file in files:
            if file.suffix in (".py", ".json") and file.is_file():
                found.update(str(file.relative_to(folder.parent)).encode())
                found.update(file.read_bytes())
    return found.hexdigest()


def raised(
    files: Sequence[Path], budget: float | None = None, cache: Path = CACHE, processes: int = PROCESSES
) -> Iterator[list[Transition]]:
    """What each file's run raises, in the order of `files`; `budget` in false warnings per million steps."""
    folder = cache / f"{code_hash()}-{'default' if budget is None else f'{budget:g}'}"
    folder.mkdir(parents=True, exist_ok=True)
    _forget_old(cache)
    kept = [folder / f"{_name(file)}.jsonl" for file in files]
    missing = [at for at, path in enumerate(kept) if not path.exists()]
    if missing:
        workers = min(processes, len(missing))
        with ProcessPoolExecutor(workers, get_context("spawn"), os.nice, (NICENESS,)) as pool:
            jobs = [pool.submit(_judge, files[at], budget, kept[at]) for at in missing]
            for job in jobs:
                job.result()
    for path in kept:
        yield [decode_transition(line) for line in path.read_bytes().splitlines()]


def judged(file: Path, budget: float | None = None) -> list[Transition]:
    """What one file's run raises. Raises `ReplayFileError`; RuntimeError where a record was refused."""
    from anomaly.monitor.limits import Limits
    from anomaly.replay.run import Replay

    limits = Limits() if budget is None else Limits(false_warnings_per_million_steps=budget)
    replay = Replay(limits)
    found = list(replay.transitions([file]))
    if sum(replay.refused_counts.values()):
        raise RuntimeError(f"{file}: records were refused: {'; '.join(replay.refused)}")
    return found


def _judge(file: Path, budget: float | None, path: Path) -> None:
    lines = [transition.encode() + b"\n" for transition in judged(file, budget)]
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(b"".join(lines))
    unfinished.replace(path)


def _name(file: Path) -> str:
    """The file's name, and what changes with its content."""
    state = file.stat()
    told = f"{file.resolve()}:{state.st_size}:{state.st_mtime_ns}"
    return f"{file.stem}-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}"


def _forget_old(cache: Path) -> None:
    """Drop what the oldest states of the code raised."""
    folders = sorted(
        (path for path in cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
    )
    for folder in folders[:-KEPT_CODES]:
        shutil.rmtree(folder, ignore_errors=True)
