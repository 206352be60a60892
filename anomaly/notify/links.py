"""Where a page leads: the run in Grafana at the time it is about, the runbook, the run's own dashboard."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Status, Transition
from anomaly.notify.quantities import sane
from anomaly.settings import Settings

WINDOW_SECONDS = 1800
"""Grafana shows this much before the incident was opened, and after it was resolved."""
ONE_RUN, FLEET = "anomaly-run", "anomaly-fleet"
"""The uids of two dashboards of `deploy.grafana`."""
LONGEST_URL = 1000
_RUNBOOK = re.compile(r"docs/runbooks/([a-z_]{1,60})\.md")


@dataclass(frozen=True, slots=True)
class Links:
    """Bases of what a page links to; an empty one is left out.

    ``grafana_url``  of the Grafana that has our dashboards, such as ``https://grafana.lab.org``
    ``runbook_url``  of a folder with the runbooks; empty: their path in this project's repository is named
    """

    grafana_url: str = ""
    runbook_url: str = ""

    def of(self, transition: Transition) -> tuple[tuple[str, str], ...]:
        """Names and URLs for one incident, the most useful first."""
        found = (("Grafana", self.grafana(transition)), own_dashboard(transition))
        runbook = ("Runbook", self.runbook(transition))
        return tuple((name, url) for name, url in (*found, runbook) if url)

    def grafana(self, transition: Transition) -> str:
        """The run's dashboard from half an hour before the incident was opened; empty without a Grafana."""
        if not self.grafana_url:
            return ""
        opened, updated = transition.opened_unix_seconds, transition.updated_unix_seconds
        window = {"from": "now-1h", "to": "now"}
        if opened is not None:
            window["from"] = _milliseconds(opened - WINDOW_SECONDS)
        if transition.status is Status.RESOLVED and updated is not None:
            window["to"] = _milliseconds(updated + WINDOW_SECONDS)
        query = urlencode({"var-run": transition.run, **window}, quote_via=quote, errors="replace")
        return f"{self.grafana_url.rstrip('/')}/d/{ONE_RUN}?{query}"

    def fleet(self) -> str:
        """All runs at a glance, for a storm."""
        return f"{self.grafana_url.rstrip('/')}/d/{FLEET}" if self.grafana_url else ""

    def runbook(self, transition: Transition) -> str:
        """The runbook's address; its path in the repository where no base is set.

        Of a kind that is known here it is known without the transition, which an older worker may have written; of any
        other it is what the transition says, if that is a runbook of ours.
        """
        kind = KINDS.get(transition.kind)
        path = transition.runbook if kind is None else kind.runbook
        known = _RUNBOOK.fullmatch(path)
        if known is None:
            return ""
        return f"{self.runbook_url.rstrip('/')}/{known[1]}.md" if self.runbook_url else path


def links_of(settings: Settings) -> Links:
    """As a team's settings name them."""
    return Links(settings.grafana_url, settings.runbook_url)


def own_dashboard(transition: Transition) -> tuple[str, str]:
    """What the run's tag ``dashboard`` leads to, named after its host: whoever clicks sees where it goes.

    The tag comes from a training job: only a plain web address is taken, without a login in it.
    """
    url = (transition.tags or {}).get("dashboard", "")
    if (
        not url.isascii()
        or not url.isprintable()
        or len(url) > LONGEST_URL
        or set(url) & set(" <>\"'`|\\^{}()[]")
    ):
        return "", ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "", ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return "", ""
    return f"The run's dashboard ({host[:60]})", url


def _milliseconds(unix_seconds: float) -> str:
    return str(int(sane(unix_seconds) * 1000))
