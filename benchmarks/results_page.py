"""RESULTS.md: one page, whose parts are rewritten by whatever measures them, each leaving the others as they are.

``make bench`` owns the section ``bench``. Another command that has figures to keep ends with::

    from benchmarks.results_page import replace_section
    replace_section("chaos", "| seed | scenario | …")      # any Markdown, machine and command included

The text stands between ``<!-- begin chaos -->`` and ``<!-- end chaos -->`` in RESULTS.md; headings outside the markers
are written by hand. A new section needs its two markers in the page first.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "RESULTS.md"


def replace_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between the markers of section `name`. ValueError if `page` does not have both, once and in order."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = page.read_text("utf-8")
    if before.count(begin) != 1 or before.count(end) != 1 or before.index(begin) > before.index(end):
        raise ValueError(
            f"{page} must have {begin} and after it {end}, once each; put them where the section belongs"
        )
    head, _, rest = before.partition(begin)
    tail = rest.partition(end)[2]
    page.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", "utf-8")
