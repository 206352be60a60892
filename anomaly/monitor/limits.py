"""What one partition's monitor allows: bounds that keep a hostile or broken producer from taking the worker."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.levels import BUDGET


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults as contracts have them; the worker's settings may lower or raise them."""

    max_message_bytes: int = 8 << 20
    series_per_run: int = 100_000
    layouts_per_run: int = 64
    false_warnings_per_million_steps: float = BUDGET
