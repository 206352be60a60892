"""Mail over SMTP: a text and an HTML form of the page, the picture inline, one thread an incident.

TLS is verified; where the server offers no STARTTLS, nothing is sent rather than in the clear. ``{owner}`` is the
owner in the run's tags, which a training job wrote: only an address in one of `owner_domains` is taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

import aiosmtplib

from anomaly.escapes import shown
from anomaly.incidents.transition import Transition
from anomaly.notify.delivery import Delivery, DeliveryError
from anomaly.notify.http import Http
from anomaly.notify.page import text_of
from anomaly.notify.receivers.email_html import html_of
from anomaly.notify.secret_files import secret_now, secret_of
from anomaly.settings_receivers import EmailSpec

STEP_SECONDS = 10.0
STEPS = 3
"""A whole mail may take as long as this many steps that hang."""
SUBJECT_CHARACTERS = 200
MAX_OWNERS = 50
OWNER = "{owner}"
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8})")
_MESSAGE_ID = re.compile(r"<anomaly\.[0-9a-f]{24}@[^@<>\s]{1,255}>")
_log = logging.getLogger(__name__)


class Email:
    """Some addresses, by way of one server."""

    wants_picture = True
    refresh_seconds: float | None = None

    def __init__(self, spec: EmailSpec, http: Http, step_seconds: float = STEP_SECONDS) -> None:
        self.name = spec.name
        self._spec = spec
        self._tls = http.tls
        self._step_seconds = step_seconds
        secret_of(spec, "password")

    async def deliver(self, delivery: Delivery) -> str | None:
        """Send it to everyone; the receipt is the thread's first Message-ID.

        Raises `DeliveryError` if nobody's mail was taken.
        """
        spec = self._spec
        to = recipients(spec, delivery.transitions)
        if not to:
            domains = ", ".join(spec.owner_domains)
            raise DeliveryError(
                f"mail: nobody to send it to: the run's tags name no owner in {domains}; add an address to `to`",
                retriable=False,
            )
        password = secret_now(spec, "password")
        try:
            mail = mail_of(delivery, spec.sender, to)
            async with asyncio.timeout(STEPS * self._step_seconds):
                await self._send(mail, to, password)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            raise self._failed(error, password) from None
        return str(mail["References"] or mail["Message-ID"])

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is told again."""

    async def close(self) -> None:
        """A connection lives no longer than one mail."""

    async def _send(self, mail: EmailMessage, to: list[str], password: str) -> None:
        spec = self._spec
        client = aiosmtplib.SMTP(
            hostname=spec.host,
            port=spec.port,
            use_tls=spec.security == "tls",
            start_tls=spec.security == "starttls",
            tls_context=None if spec.security == "none" else self._tls,
            timeout=self._step_seconds,
        )
        async with client:
            if spec.username:
                await client.login(spec.username, password)
            refused, _ = await client.sendmail(spec.sender, to, mail.as_bytes())
        for address, answer in refused.items():
            _log.warning(
                "receiver %s: the server did not take %s: %s %s",
                self.name, shown(address), answer.code, shown(answer.message),
            )  # fmt: skip

    def _failed(self, error: BaseException, password: str) -> DeliveryError:
        """Whether a repeat can help: not after a 5xx, a refused certificate or a server without TLS."""
        where = f"mail: {self._spec.host}:{self._spec.port}"
        if isinstance(error, TimeoutError):  # aiosmtplib's own are among them
            return DeliveryError(f"{where}: no answer in time", retriable=True)
        certificate = _certificate_error(error)
        if certificate is not None:
            todo = "give its authority in notify_ca_file, or correct it"
            return DeliveryError(
                f"{where}: its certificate is refused ({certificate}); {todo}", retriable=False
            )
        code = _code(error)
        text = str(error).replace(password, "********") if password else str(error)
        # What the server cannot do (STARTTLS, a login) is the bare exception.
        lacking = type(error) is aiosmtplib.SMTPException or isinstance(error, aiosmtplib.SMTPNotSupported)
        final = code >= 500 or lacking or isinstance(error, ValueError)
        return DeliveryError(f"{where}: {shown(text, 300)}", retriable=not final)


def recipients(spec: EmailSpec, transitions: Sequence[Transition]) -> list[str]:
    """Who gets it, each once."""
    fixed = [address for address in spec.to if address != OWNER]
    owners: list[str] = []
    if OWNER in spec.to:
        named = ((one.tags or {}).get("owner", "") for one in transitions)
        owners = [owner for owner in dict.fromkeys(named) if is_owner(owner, spec.owner_domains)]
    return list(dict.fromkeys([*fixed, *owners[:MAX_OWNERS]]))


def is_owner(address: str, domains: Sequence[str]) -> bool:
    """Whether an address out of a run's tags may get mail: a plain one, in one of these domains exactly."""
    found = _ADDRESS.fullmatch(address)
    return found is not None and found[1].lower() in {domain.lower() for domain in domains}


def mail_of(delivery: Delivery, sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail. Its Message-ID comes from the key, so that a repeat is the same mail."""
    page = delivery.page
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = shown(page.title, SUBJECT_CHARACTERS)
    mail["Date"] = formatdate()
    mail["Message-ID"] = _message_id(delivery.key, sender.rpartition("@")[2])
    if _MESSAGE_ID.fullmatch(delivery.receipt or ""):
        mail["In-Reply-To"] = mail["References"] = delivery.receipt
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if delivery.event.wakes:
        mail["Importance"] = "high"
    mail.set_content(text_of(page))
    mail.add_alternative(html_of(page, delivery.picture is not None), subtype="html")
    if delivery.picture is not None:
        _add_picture(mail, delivery.picture)
    return mail


def _add_picture(mail: EmailMessage, picture: bytes) -> None:
    html = mail.get_payload()[1]  # type: ignore[index]
    assert isinstance(html, EmailMessage)
    html.add_related(picture, "image", "png", cid="<evidence>", disposition="inline", filename="evidence.png")


def _message_id(key: str, domain: str) -> str:
    return f"<anomaly.{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}@{domain}>"


def _code(error: BaseException) -> int:
    """The server's answer, the mildest where it said different things of different recipients; 0: none."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return min((each.code for each in error.recipients), default=0)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0


def _certificate_error(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None
