"""Whatever apprise knows, a hundred services: by their addresses, which hold the secrets, one a line of a file.

apprise is synchronous and says neither why a service refused nor whether a repeat helps, so every failure is tried
again until the deadline. Its HTTP is its own: redirects and limits are what it makes of them. What the services make
of text is not known here, so nothing that looks like markup or a mention is left in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import apprise

from anomaly.errors import SettingsError
from anomaly.incidents.transition import Severity
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.notify.http import Http
from anomaly.notify.inert import without_markup
from anomaly.notify.page import body_of, web_links
from anomaly.notify.secret_files import secret_now, secret_of
from anomaly.settings_receivers import AppriseSpec

TOTAL_SECONDS = 30.0
BODY_CHARACTERS = 1800
QUIET = ("apprise", "urllib3", "requests")
"""Their debug lines hold whole addresses."""


class AppriseServices:
    """One or several services."""

    wants_picture = False
    refresh_seconds: float | None = None

    def __init__(self, spec: AppriseSpec, http: Http) -> None:
        self.name = spec.name
        self._spec = spec
        for library in QUIET:
            logging.getLogger(library).setLevel(logging.ERROR)
        problem = _problem(services_of(secret_of(spec, "url")))
        if problem:
            raise SettingsError([f"receivers: {spec.name}: url: {problem}"])

    async def deliver(self, delivery: Delivery) -> str | None:
        """Tell all of them. Raises `DeliveryError` if one did not take it."""
        services = services_of(secret_now(self._spec, "url"))
        problem = _problem(services)
        if problem or services is None:
            raise DeliveryError(f"apprise: {problem}", retriable=True)
        page = delivery.page
        links = "\n".join(f"{name}: {url}" for name, url in web_links(page))
        body = without_markup(body_of(page))
        if len(body) > BODY_CHARACTERS:
            body = f"{body[: BODY_CHARACTERS - 1]}…"
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                taken = await asyncio.to_thread(
                    services.notify,
                    title=without_markup(page.title),
                    body=f"{body}\n\n{links}".strip(),
                    notify_type=_type(delivery),
                    body_format=apprise.NotifyFormat.TEXT,
                )
        except TimeoutError:
            raise DeliveryError("apprise: no answer in time", retriable=True) from None
        except Exception as error:  # a service's own trouble; its text may hold the address
            raise DeliveryError(f"apprise: failed ({type(error).__name__})", retriable=True) from None
        if not taken:
            raise DeliveryError(
                "apprise: a service did not take it; try its address with apprise -vv", retriable=True
            )
        return None

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is told again."""

    async def close(self) -> None:
        """Nothing of its own to give back."""


def services_of(addresses: str) -> apprise.Apprise | None:
    """The services of these addresses, one a line; None where one cannot be used."""
    services = apprise.Apprise()
    return (
        services
        if all(services.add(line.strip()) for line in addresses.splitlines() if line.strip())
        else None
    )


def _problem(services: apprise.Apprise | None) -> str:
    if services is None:
        return "an address is not of a form that apprise knows; see https://appriseit.com/services/"
    return "" if len(services) else "holds no address; write one a line"


def _type(delivery: Delivery) -> apprise.NotifyType:
    if delivery.event is Event.RESOLVE:
        return apprise.NotifyType.SUCCESS
    critical = any(one.severity is Severity.CRITICAL for one in delivery.transitions)
    return apprise.NotifyType.FAILURE if critical else apprise.NotifyType.WARNING
