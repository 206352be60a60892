"""Letters on a picture: what a run named, made safe to draw, and numbers as people read them on an axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font

from anomaly.escapes import escaped

_NO_GLYPH = "\N{WHITE SQUARE}"


def drawn(text: str, longest: int) -> str:
    r"""`text` as matplotlib may draw it: no formula begins, no letter is missing, cut in its middle.

    >>> drawn("a$b$", 9), drawn("model.layers.17.attn", 11), drawn("a\n\u6a21", 9)
    ('a\\$b\\$', 'model….attn', 'a\\n□')
    """
    text = escaped(text)
    if len(text) > longest:
        end = longest // 2
        text = f"{text[: longest - 1 - end]}…{text[-end:]}"
    known = _glyphs()
    return "".join(one if ord(one) in known else _NO_GLYPH for one in text).replace("$", r"\$")


def number(value: float) -> str:
    """A number on an axis.

    >>> number(0.00012), number(41200.0), number(1e9), number(0.5)
    ('1.2e-4', '41,200', '1e9', '0.5')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    head, _, power = f"{value:.2e}".partition("e")
    return f"{head.rstrip('0').rstrip('.')}e{int(power)}"


def shared_start(names: Sequence[str]) -> str:
    """The parts, up to a dot, with which all names begin; never a whole name.

    >>> shared_start(["model.h.1.attn", "model.h.2.mlp"]), shared_start(["a", "b"])
    ('model.h.', '')
    """
    parts = [name.split(".")[:-1] for name in names]
    same = 0
    while all(len(each) > same and each[same] == parts[0][same] for each in parts):
        same += 1
    return "".join(f"{part}." for part in parts[0][:same]) if len(names) > 1 else ""


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
