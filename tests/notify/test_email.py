"""Against a real mail server on loopback (aiosmtpd), with STARTTLS and logins."""

from __future__ import annotations

import asyncio
import socket
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from anomaly.broker import HOST
from anomaly.incidents.transition import Severity
from anomaly.notify.delivery import DeliveryError, Event
from anomaly.notify.http import Http
from anomaly.notify.receivers.email import Email, is_owner, mail_of
from tests.notify.deliveries import PNG, told, told_storm, trial
from tests.notify.mailbox import PASSWORD, deliver, email_spec, mail_server
from tests.notify.pages import HOSTILE, nan_gradient, resolved, silent_runs
from tests.notify.recording_server import server_tls
from tests.security.certificates import ELSEWHERE, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_an_incident_is_one_thread_of_mails_over_verified_tls(tmp_path: Path, authority: Authority) -> None:
    with mail_server(server_tls(*authority.sign("mail"))) as (mailbox, port):
        deliver(
            port, tmp_path, authority.ca, told(transition=nan_gradient(severity=Severity.WARNING)),
            told(Event.ESCALATE, nan_gradient(transition=2), before=Severity.WARNING),
            told(Event.RESOLVE, resolved(), before=Severity.CRITICAL),
        )  # fmt: skip
    first, second, third = mailbox.mails
    assert first["Subject"].startswith("[warning] gpt-7b-ablation: NaN gradient")
    assert (first["Importance"], third["Importance"]) == ("high", None)
    assert first["References"] is None
    assert second["References"] == third["In-Reply-To"] == first["Message-ID"]
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 3
    assert first["Auto-Submitted"] == "auto-generated"
    assert mailbox.envelopes[0].mail_from == "anomaly@lab.example"


def test_a_repeat_is_the_same_mail_and_a_later_page_of_the_incident_another() -> None:
    again = msgspec.structs.replace(told(), key="3a537a06ea04a673-1-round1")
    first, repeat, later = (
        mail_of(each, "a@lab.example", ["b@lab.example"]) for each in (told(), told(), again)
    )
    assert first["Message-ID"] == repeat["Message-ID"] != later["Message-ID"]


def test_the_picture_is_shown_inside_the_mail() -> None:
    mail = mail_of(told(picture=PNG), "a@lab.example", ["b@lab.example"])
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    html = mail.get_body(("html",))
    assert html is not None
    assert picture["Content-ID"] == "<evidence>"
    assert 'src="cid:evidence"' in html.get_content()
    assert picture.get_content() == PNG
    assert "cid:evidence" not in mail_of(told(), "a@lab.example", ["b@lab.example"]).as_string()


class Tags(HTMLParser):
    """Which elements there are, and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_add_no_header_no_recipient_and_no_element(
    tmp_path: Path, authority: Authority, name: str
) -> None:
    tags = {"owner": name, "team": name, "dashboard": name}
    one = nan_gradient(run=name, layer=name, layers=(name, name), kind=name, statistic=name, tags=tags)
    keys = {"to": ["oncall@lab.example", "{owner}"], "owner_domains": ["lab.example"]}
    with mail_server(server_tls(*authority.sign("mail"))) as (mailbox, port):
        deliver(port, tmp_path, authority.ca, told(transition=one), told_storm([one, one]), **keys)
    usual = set(mail_of(told(), "a@lab.example", ["b@lab.example"]).keys())
    for mail, envelope in zip(mailbox.mails, mailbox.envelopes, strict=True):
        assert set(mail.keys()) - {"In-Reply-To", "References"} == usual
        assert envelope.rcpt_tos == ["oncall@lab.example"]
        assert mail["Subject"].isprintable()
        html = mail.get_body(("html",))
        assert html is not None
        parser = Tags()
        parser.feed(html.get_content())
        assert {tag for tag, _ in parser.found} <= {
            "html",
            "body",
            "div",
            "p",
            "b",
            "table",
            "tr",
            "td",
            "a",
            "br",
        }
        links = [attributes["href"] or "" for tag, attributes in parser.found if tag == "a"]
        assert all(link.startswith("https://") and ".lab.example" in link for link in links)


@pytest.mark.parametrize(
    ("address", "mailed"),
    [
        ("ana@lab.example", True),
        ("Ana.B+x@LAB.example", True),
        ("ana@evil.example", False),
        ("ana@lab.example.evil.example", False),
        ("ana@sub.lab.example", False),
        ("ana@lab.example, boss@lab.example", False),
        ("ana@lab.example\r\nBcc: x@lab.example", False),
        ('"a b"@lab.example', False),
        ("@lab.example", False),
        ("аna@lab.example", False),
        ("a" * 65 + "@lab.example", False),
        ("", False),
    ],
)
def test_an_owner_gets_mail_only_at_a_plain_address_in_the_domains_allowed(
    address: str, mailed: bool
) -> None:
    assert is_owner(address, ("lab.example",)) == mailed


def test_a_storm_reaches_every_owner_once(tmp_path: Path, authority: Authority) -> None:
    members = [
        msgspec.structs.replace(one, tags={"owner": f"{who}@lab.example"})
        for one, who in zip(silent_runs(6), "abcabc", strict=True)
    ]
    with mail_server(server_tls(*authority.sign("mail"))) as (mailbox, port):
        deliver(
            port, tmp_path, authority.ca, told_storm(members), trial(),
            to=["{owner}", "a@lab.example"], owner_domains=["lab.example"],
        )  # fmt: skip
    assert mailbox.envelopes[0].rcpt_tos == ["a@lab.example", "b@lab.example", "c@lab.example"]


def test_a_run_without_an_owner_is_an_error_that_a_fallback_can_take(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="name no owner in lab") as caught:
        deliver(
            9,
            tmp_path,
            None,
            told(transition=nan_gradient(tags=None)),
            to=["{owner}"],
            owner_domains=["lab.example"],
        )
    assert not caught.value.retriable


def test_a_server_without_starttls_gets_neither_password_nor_mail(tmp_path: Path) -> None:
    with mail_server(None) as (mailbox, port):
        with pytest.raises(DeliveryError, match="STARTTLS") as caught:
            deliver(port, tmp_path, None, told())
        assert not caught.value.retriable
    assert mailbox.envelopes == []


def test_a_server_on_loopback_without_tls_is_used_where_that_is_asked_for(tmp_path: Path) -> None:
    with mail_server(None) as (mailbox, port):
        deliver(port, tmp_path, None, told(), security="none", username="")
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_certificate_of_another_host_or_authority_is_refused(
    tmp_path: Path, authority: Authority, elsewhere: bool
) -> None:
    certificate = authority.sign("mail", names=ELSEWHERE) if elsewhere else authority.sign("mail")
    with mail_server(server_tls(*certificate)) as (mailbox, port):
        with pytest.raises(DeliveryError, match="certificate is refused") as caught:
            deliver(port, tmp_path, authority.ca if elsewhere else None, told())
        assert not caught.value.retriable
    assert mailbox.envelopes == []


@pytest.mark.parametrize(
    ("refused", "answer", "retriable"),
    [
        ("DATA", "451 busy", True),
        ("DATA", f"554 no {PASSWORD}", False),
        ("oncall@lab.example", "450 later", True),
        ("oncall@lab.example", "550 who?", False),
    ],
)
def test_what_the_server_refuses_is_tried_again_only_where_that_helps(
    tmp_path: Path, authority: Authority, refused: str, answer: str, retriable: bool
) -> None:
    with mail_server(server_tls(*authority.sign("mail"))) as (mailbox, port):
        mailbox.refuse = {refused: answer}
        with pytest.raises(DeliveryError) as caught:
            deliver(port, tmp_path, authority.ca, told())
    assert caught.value.retriable == retriable
    assert PASSWORD not in str(caught.value)


def test_one_address_that_is_refused_does_not_keep_the_page_from_the_others(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(server_tls(*authority.sign("mail"))) as (mailbox, port):
        mailbox.refuse = {"gone@lab.example": "550 who?"}
        deliver(port, tmp_path, authority.ca, told(), to=["gone@lab.example", "oncall@lab.example"])
    assert mailbox.envelopes[0].rcpt_tos == ["oncall@lab.example"]
    assert "did not take gone@lab.example: 550" in caplog.text


def test_a_wrong_password_is_final_and_not_shown(tmp_path: Path, authority: Authority) -> None:
    with mail_server(server_tls(*authority.sign("mail"))) as (_, port):
        other = tmp_path / "other"
        other.write_text("wrong horse\n")
        with pytest.raises(DeliveryError) as caught:
            deliver(port, tmp_path, authority.ca, told(), password_file=str(other))
    assert not caught.value.retriable
    assert "wrong horse" not in str(caught.value)


def test_nobody_listening_is_tried_again(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    with pytest.raises(DeliveryError) as caught:
        deliver(port, tmp_path, None, told())
    assert caught.value.retriable


@pytest.mark.parametrize("drips", [False, True])
def test_a_server_that_hangs_or_drips_is_left_in_time(tmp_path: Path, drips: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while drips:  # a greeting without end, faster than any single step runs out
                writer.write(b"220-still here\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        made = email_spec(host=HOST, port=port, sender="a@lab.example", to=["b@lab.example"])
        receiver = Email(made, Http(environment={}), step_seconds=0.3)
        with pytest.raises(DeliveryError, match="no answer in time") as caught:
            await receiver.deliver(told())
        assert caught.value.retriable
        server.close()

    asyncio.run(scenario())
