"""A run through our monitor, on the replay's path. Each file is judged alone by a new monitor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import anomaly
import detectors
from anomaly.incidents.transition import Transition, decode_transition
from benchmarks.detection.remembered import PROCESSES, hash_of, remembered

_JUDGING = ("monitor", "incidents", "replay", "records.py", "signals.py", "json_records.py")
"""What of `anomaly` decides what is raised; all of `detectors` does."""


@cache
def code_hash() -> str:
    """Hexadecimal digits that change with all that decides what is raised."""
    folder = Path(anomaly.__file__).parent
    parts = [*(folder / name for name in _JUDGING), Path(detectors.__file__).parent]
    return hash_of(parts, folder.parent)


def raised(files: Sequence[Path], budget: float, processes: int = PROCESSES) -> list[list[Transition]]:
    """What each file's runs raise; `budget` in false warnings per million steps."""
    look = partial(judged, budget=budget)
    lines = remembered(f"ours-{budget:g}", look, files, code_hash(), processes=processes)
    return [[decode_transition(line) for line in each.splitlines()] for each in lines]


def judged(file: Path, budget: float) -> bytes:
    """What one file raises, a line of JSON each. `ReplayFileError`; RuntimeError where a record was refused."""
    from anomaly.monitor.limits import Limits
    from anomaly.replay.run import Replay

    replay = Replay(Limits(false_warnings_per_million_steps=budget))
    found = list(replay.transitions([file]))
    if sum(replay.refused_counts.values()):
        raise RuntimeError(f"{file}: records were refused: {'; '.join(replay.refused)}")
    return b"".join(transition.encode() + b"\n" for transition in found)
