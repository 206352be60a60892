"""Text for formats that are not known here: those of Alertmanager's templates, of apprise's services."""

from __future__ import annotations

from anomaly.escapes import escaped

_LOOKALIKES = str.maketrans({"<": "‹", ">": "›"})
_MENTIONS = str.maketrans({"@": "＠", "`": "ˋ"})


def without_tags(text: str) -> str:
    r"""`text` on lines of its own making, with signs that look like ``<`` and ``>`` in their place.

    Whatever takes HTML, or Slack's ``<!channel>``, finds nothing to obey; people read the same.

    >>> print(without_tags("<!channel>\x1b[1m"))
    ‹!channel›\x1b[1m
    """
    return "\n".join(escaped(line) for line in text.split("\n")).translate(_LOOKALIKES)


def without_markup(text: str) -> str:
    """The same for chats whose mentions are plain words, as ``@everyone``, and whose links hide behind brackets.

    >>> without_markup("@everyone [ok](https://evil.example)")
    '＠everyone [ok] (https://evil.example)'
    """
    return without_tags(text).translate(_MENTIONS).replace("](", "] (")
