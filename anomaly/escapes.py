"""What comes from outside is shown, never obeyed: terminal escapes, direction marks, line breaks in a name.

Run ids, layer names and whatever else came over Kafka or out of a file go through one of these before they reach a
terminal or a log.
"""

from __future__ import annotations

import json

_LONGEST = 200


def escaped(text: str) -> str:
    r"""`text` with everything that is not printable as an escape.

    >>> print(escaped("a\x1b[31mb\u202e\n"), escaped("[red]"))
    a\x1b[31mb\u202e\n [red]
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shown(text: str, longest: int = _LONGEST) -> str:
    r"""The same, cut where it is too long.

    >>> print(shown("a\x1b"), shown("abcdef", 4))
    a\x1b abc…
    """
    text = escaped(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def escaped_lines(text: str) -> str:
    r"""The same for a text of several lines, a traceback: its line breaks stay.

    >>> print(escaped_lines("a\x07\nb"))
    a\x07
    b
    """
    return "\n".join(escaped(line) for line in text.split("\n"))


def json_line(text: str) -> str:
    r"""One JSON value on a line of its own, with everything a terminal could obey escaped; still the same JSON.

    >>> print(json_line('{"run":"\u202e","layer":"é"}'))
    {"run":"\u202e","layer":"é"}
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
