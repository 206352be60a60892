"""A page as Slack shows it. What came from training jobs is always `plain_text`, in which Slack obeys nothing."""

from __future__ import annotations

from typing import Any

from anomaly.notify.delivery import Page
from anomaly.notify.page import body_of, web_links

HEADER_CHARACTERS = 150
SECTION_CHARACTERS = 2900
FALLBACK_CHARACTERS = 1000
URL_CHARACTERS = 2500


def message(page: Page) -> dict[str, Any]:
    """`text` (what a lock screen shows) and `blocks`."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": plain(page.title, HEADER_CHARACTERS)}]
    body = body_of(page)
    if len(page.title) > HEADER_CHARACTERS:
        body = f"{page.title}\n\n{body}"
    if body:
        blocks.append({"type": "section", "text": plain(body, SECTION_CHARACTERS)})
    links = [
        f"<{escaped(url)}|{escaped(name)}>" for name, url in web_links(page) if len(url) <= URL_CHARACTERS
    ]
    if links:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": link} for link in links]})
    return {"text": escaped(page.title[:FALLBACK_CHARACTERS]), "blocks": blocks}


def plain(text: str, most: int) -> dict[str, Any]:
    """A text object without markup, mentions or emoji names, cut to what Slack takes."""
    return {
        "type": "plain_text",
        "emoji": False,
        "text": text if len(text) <= most else f"{text[: most - 1]}…",
    }


def escaped(text: str) -> str:
    """Text between Slack's own signs: a name cannot become a mention or end a link.

    >>> escaped("<!channel> a|b & <@U1>")
    '&lt;!channel&gt; a¦b &amp; &lt;@U1&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "¦")
