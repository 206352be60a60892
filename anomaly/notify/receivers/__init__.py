"""Who gets pages: one module a type, each escaping for its own format. `build` makes one of a ``[[receivers]]`` table.

A new type: see CONTRIBUTING.md. Reading order: alertmanager, pagerduty, slack, email, webhook, apprise.
"""

from __future__ import annotations

import importlib

from anomaly.notify.delivery import Receiver
from anomaly.notify.http import Http
from anomaly.notify.links import Links
from anomaly.settings_receivers import (
    AlertmanagerSpec,
    AppriseSpec,
    EmailSpec,
    PagerDutySpec,
    ReceiverSpec,
    SlackSpec,
    WebhookSpec,
)

_MAKERS: dict[type[ReceiverSpec], tuple[str, str]] = {
    AlertmanagerSpec: ("alertmanager", "Alertmanager"),
    PagerDutySpec: ("pagerduty", "PagerDuty"),
    SlackSpec: ("slack", "Slack"),
    EmailSpec: ("email", "Email"),
    WebhookSpec: ("webhook", "Webhook"),
    AppriseSpec: ("apprise", "AppriseServices"),
}


def build(spec: ReceiverSpec, http: Http, links: Links) -> Receiver:
    """The receiver of one table. `http` is shared by all and closed by who made it.

    Alertmanager gets `links`, too: it tells each incident of a storm for itself, with a page of its own. Imports that
    type's libraries alone. Raises `SettingsError` for a secret that cannot be read or used.
    """
    module, name = _MAKERS[type(spec)]
    maker = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    receiver: Receiver = maker(spec, http, links) if isinstance(spec, AlertmanagerSpec) else maker(spec, http)
    return receiver
