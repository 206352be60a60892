"""A real SMTP server that keeps what it gets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from anomaly.broker import HOST
from anomaly.notify.delivery import Delivery
from anomaly.notify.http import Http
from anomaly.notify.receivers.email import Email
from anomaly.settings_receivers import EmailSpec
from tests.notify.deliveries import secret_file, spec

PASSWORD = "correct horse battery"


class Mailbox:
    """What the server took. `refuse` maps a command or an address to the answer it gets."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refuse: dict[str, str] = {}

    @property
    def mails(self) -> list[EmailMessage]:
        parser = BytesParser(EmailMessage, policy=policy.SMTP)
        return [parser.parsebytes(each.original_content or b"") for each in self.envelopes]

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        self.envelopes.append(envelope)
        return "250 OK"


@contextmanager
def mail_server(tls: ssl.SSLContext | None, login: bool = True) -> Iterator[tuple[Mailbox, int]]:
    """A server that demands STARTTLS where it has a certificate, then name and password."""
    mailbox = Mailbox()

    def check(server: Any, session: Any, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        right = (given.login, given.password) == (b"anomaly", PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    controller = Controller(
        mailbox, hostname=HOST, port=port, tls_context=tls, require_starttls=tls is not None,
        authenticator=check, auth_required=login and tls is not None,
    )  # fmt: skip
    controller.start()
    try:
        yield mailbox, port
    finally:
        controller.stop()


def deliver(
    port: int, tmp_path: Path, ca: Path | None, *deliveries: Delivery, **keys: Any
) -> list[str | None]:
    """Send these one after the other, each with the first one's receipt."""

    async def scenario() -> list[str | None]:
        fixed = {
            "host": "localhost", "port": port, "sender": "anomaly@lab.example", "to": ["oncall@lab.example"],
            "username": "anomaly", "password_file": secret_file(tmp_path, f"{PASSWORD}\n"),
        }  # fmt: skip
        made = email_spec(**(fixed | keys))
        http = Http(ca_file=str(ca) if ca else "", environment={})
        receipts: list[str | None] = []
        try:
            for delivery in deliveries:
                known = msgspec.structs.replace(delivery, receipt=receipts[0] if receipts else None)
                receipts.append(await Email(made, http).deliver(known))
        finally:
            await http.close()
        return receipts

    return asyncio.run(scenario())


def email_spec(**keys: Any) -> EmailSpec:
    if "sender" in keys:
        keys["from"] = keys.pop("sender")
    made = spec("email", **keys)
    assert isinstance(made, EmailSpec)
    return made
