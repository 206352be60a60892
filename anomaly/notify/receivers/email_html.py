"""A page as HTML for mail: no scripts, no remote pictures, readable on a phone and in grey."""

from __future__ import annotations

from html import escape

from anomaly.notify.delivery import Page
from anomaly.notify.page import web_links

_BODY = "font:16px/1.45 -apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;max-width:40em;overflow-wrap:anywhere"
_NAME = "padding:2px 12px 2px 0;vertical-align:top;opacity:.7"


def html_of(page: Page, with_picture: bool) -> str:
    """The whole document; every text in it is escaped. The picture is the part with the Content-ID ``evidence``."""
    rows = "".join(
        f'<tr><td style="{_NAME}">{escape(name)}</td><td>{escape(text)}</td></tr>'
        for name, text in page.facts
    )
    parts = [
        f'<p style="font-size:18px;font-weight:600">{escape(page.title)}</p>',
        f'<table style="border-collapse:collapse">{rows}</table>' if rows else "",
        f"<p><b>Do:</b> {escape(page.advice)}</p>" if page.advice else "",
        "<p>" + "<br>".join(map(escape, page.runs)) + "</p>" if page.runs else "",
        _picture() if with_picture else "",
        "".join(f'<p><a href="{escape(url)}">{escape(name)}</a></p>' for name, url in web_links(page)),
        "".join(
            f"<p>{escape(name)}: {escape(path)}</p>"
            for name, path in page.links
            if not path.startswith("http")
        ),
    ]
    return f'<!doctype html><html><body><div style="{_BODY}">{"".join(parts)}</div></body></html>\n'


def _picture() -> str:
    return '<p><img src="cid:evidence" alt="the evidence over time" style="max-width:100%;height:auto"></p>'
