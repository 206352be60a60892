"""How often the test part was looked at: each look is a line of LOOKS.md, written before anything is shown."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

PAGE = Path(__file__).parent / "LOOKS.md"
HEAD = """# Looks at the test part

Figures of the test part are only worth something while nothing is chosen by them. Each time that the scoreboard scores
it, it writes a line here first.

| look | when | commit | runs | what for |
|---|---|---|---|---|
"""


def write_down(runs: int, purpose: str, page: Path = PAGE, root: Path = PAGE.parents[2]) -> int:
    """Add a line; the number of this look."""
    text = page.read_text("utf-8") if page.exists() else HEAD
    number = 1 + sum(line[2:3].isdigit() for line in text.splitlines() if line.startswith("| "))
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    page.write_text(f"{text}| {number} | {when} | {commit(root)} | {runs} | {purpose} |\n", "utf-8")
    return number


def commit(root: Path) -> str:
    """The commit that is checked out, and whether files differ from it; "unknown" outside a repository."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return f"{head} with changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
