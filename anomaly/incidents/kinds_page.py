"""`docs/kinds.md`, made from the table of kinds.

Write it anew with ``python -m anomaly.incidents.kinds_page > docs/kinds.md``.
"""

from __future__ import annotations

import sys

from anomaly.incidents.kinds import KINDS, Kind

_HEAD = """# Kinds of incidents

What each kind means, how urgent it is, how it is found and what to do. Severity says what to do: **critical**, act now;
**warning**, look today; **info** goes to the log only. Names follow the project's list of faults; made from
`anomaly/incidents/kinds.py`.
"""


def kinds_page() -> str:
    """The page as Markdown."""
    return _HEAD + "".join(_section(kind) for kind in KINDS.values())


def _section(kind: Kind) -> str:
    found_by = kind.found_by or "nothing raises it yet"
    return (
        f"\n## {kind.name}\n\n{kind.title}. Family: {kind.family}. Severity: {kind.severity}. Found by: {found_by}.\n\n"
        f"{kind.advice} [Runbook](runbooks/{kind.name}.md)\n"
    )


if __name__ == "__main__":
    sys.stdout.write(kinds_page())
