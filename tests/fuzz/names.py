"""Text that a producer may send: every script, what terminals obey, what looks like markup, what JSON escapes."""

from __future__ import annotations

import random

TERMINAL = (
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\x07",
    "\x08\x08",
    "\r",
    "\x00",
    "\x7f",
)
INVISIBLE = (
    "\u202e",
    "\u2066",
    "\u2069",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u061c",
    "\u00ad",
    "\U000e0041",
    "\u2028",
)
MARKUP = (
    "[red]",
    "[/]",
    "[link=file:///]",
    "<b>",
    "&amp;",
    "%s",
    "{0}",
    "${x}",
    "`id`",
    "'; --",
    '"',
    "\\",
    "\n",
    ":smile:",
)
SCRIPTS = (
    "слой", "层", "レイヤー", "계층", "طبقة", "שכבה", "परत", "ชั้น", "στρώμα", "շերտ", "ფენა", "ንብርብር", "ᏗᎦ", "𓀀",
    "🧠🏽", "é", "e\u0301",
    "Ａ", "ﬁ", "ß", "İ", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "\U0010ffff", "\uffff",
)  # fmt: skip
PLAIN = (
    "loss",
    "lr",
    "grad_norm",
    "act_rms",
    "h.0.attn",
    "head",
    "run",
    "step",
    "x",
    "weight_norm",
    "nonfinite",
)
LONE_SURROGATES = ("\ud800", "\udfff\ud800", "a\udc80b")

HOSTILE = (*TERMINAL, *INVISIBLE, *MARKUP)


def name(rng: random.Random) -> str:
    """A valid name of 1 to 200 characters; mostly an unpleasant one."""
    parts = [rng.choice(rng.choice((HOSTILE, SCRIPTS, PLAIN))) for _ in range(rng.randrange(1, 5))]
    text = "".join(parts) * (60 if rng.random() < 0.02 else 1)
    return text[:200]


def wrong_name(rng: random.Random) -> str:
    """A name that must be refused."""
    return rng.choice(("", "x" * 201, "é" * 5000, *LONE_SURROGATES))
