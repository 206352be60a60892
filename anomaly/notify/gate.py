"""How many pages a receiver gets: below the limit nothing waits, beyond it what comes is gathered into one page.

Pure: `now` comes in, in seconds; a clock that was set back makes it forget, not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

WINDOW_SECONDS = 60.0
GATHER_SECONDS = 10.0
"""How long pages beyond the limit wait for others."""
RUN_PAGES = 3
"""Single pages of one run in a window; one sick run must not use up what is meant for all."""


class Gate:
    """One receiver's limit: `limit` pages in `WINDOW_SECONDS`, of one run at most `RUN_PAGES`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pages: deque[tuple[float, str]] = deque()

    def admits(self, run: str, now: float) -> bool:
        """Whether a page of `run` may go alone now. Changes nothing."""
        recent = [of for at, of in self._pages if 0 <= now - at < WINDOW_SECONDS]
        return len(recent) < self._limit and recent.count(run) < RUN_PAGES

    def note(self, run: str, now: float) -> None:
        """A page goes out; a gathered one counts as one of no run (``""``)."""
        while self._pages and now - self._pages[0][0] >= WINDOW_SECONDS:
            self._pages.popleft()
        self._pages.append((now, run))

    def restore(self, pages: Iterable[tuple[float, str]]) -> None:
        """Forget all, and know of these pages instead: when, and of which run."""
        self._pages = deque(sorted(pages))
