from __future__ import annotations

import asyncio
import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from anomaly.errors import SettingsError
from anomaly.incidents.transition import Severity, transition_schema
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.notify.http import MAX_REQUEST_BYTES, Http
from anomaly.notify.receivers.webhook import Webhook, payload, payload_schema
from anomaly.settings_receivers import WebhookSpec
from tests.notify.deliveries import secret_file, spec, told, told_storm, trial
from tests.notify.pages import HOSTILE, nan_gradient, resolved, silent_runs
from tests.notify.recording_server import Request, recording, says

OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def validator() -> Draft202012Validator:
    resources = [Resource.from_contents(schema) for schema in (transition_schema(), payload_schema())]
    registry: Registry[Any] = Registry().with_resources([(each.id() or "", each) for each in resources])
    return Draft202012Validator(payload_schema(), registry=registry)


def sent(delivery: Delivery, secret: str, tmp_path: Path) -> Request:
    """The request that a delivery becomes."""

    async def scenario() -> Request:
        http = Http(environment={})
        async with recording() as server:
            made = spec("webhook", url=f"{server.url}/in", secret_file=secret_file(tmp_path, secret))
            assert isinstance(made, WebhookSpec)
            try:
                await Webhook(made, http).deliver(delivery)
            finally:
                await http.close()
            return server.requests[0]

    return asyncio.run(scenario())


def headers(request: Request) -> dict[str, str]:
    return {name.lower(): text for name, text in request.headers.items()}


def test_the_signature_is_one_that_another_library_takes(tmp_path: Path) -> None:
    request = sent(told(), f"{NEW}\n", tmp_path)
    assert Verifier(NEW).verify(request.body, headers(request))["data"]["dedup"] == "3a537a06ea04a673"
    assert headers(request)["webhook-id"] == "3a537a06ea04a673-1"
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(request.body, headers(request))
    with pytest.raises(WebhookVerificationError):
        Verifier(NEW).verify(request.body.replace(b"critical", b"harmless"), headers(request))


def test_while_a_secret_is_replaced_the_old_and_the_new_one_both_hold(tmp_path: Path) -> None:
    request = sent(told(), f"{NEW}\n{OLD}\n", tmp_path)
    for secret in (OLD, NEW):
        Verifier(secret).verify(request.body, headers(request))


@pytest.mark.parametrize(
    "delivery",
    [
        told(),
        told(Event.UPDATE, nan_gradient(transition=2, value=float("inf"), expected=None), receipt="x"),
        told(Event.ESCALATE, before=Severity.WARNING),
        told(Event.RESOLVE, resolved(), before=Severity.CRITICAL),
        told_storm(silent_runs(400)),
        trial(),
    ],
    ids=lambda delivery: f"{delivery.event}-{len(delivery.transitions)}",
)
def test_every_payload_fits_the_published_schema(delivery: Delivery) -> None:
    validator().validate(json.loads(payload(delivery, "on-call", 1_790_000_000.5)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_fit_it_too_and_are_the_names_that_came(name: str) -> None:
    one = nan_gradient(run=name, layer=name, layers=(name,), tags={"owner": name})
    found = json.loads(payload(told(transition=one), "on-call", 0.0))
    validator().validate(found)
    assert found["data"]["transitions"][0]["run"] == name
    assert found["data"]["page"]["title"].isprintable()


def test_a_storm_of_any_size_with_the_longest_names_is_still_sent() -> None:
    name = "\U0001f525" * 200
    longest = nan_gradient(run=name, layers=(name,) * 8, tags={f"{at}": name for at in range(32)})
    body = payload(told_storm([*silent_runs(5000), *[longest] * 300]), "on-call", 0.0)
    assert len(body) < MAX_REQUEST_BYTES
    assert json.loads(body)["data"]["incidents"] == 5300


def test_the_schema_refuses_a_payload_without_its_key() -> None:
    found = json.loads(payload(told(), "on-call", 0.0))
    del found["data"]["key"]
    assert not validator().is_valid(found)


@pytest.mark.parametrize(
    "secret", ["short", "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_!!!", "\n".join([NEW] * 5)]
)
def test_a_secret_that_is_too_weak_or_no_base64_is_refused_at_the_start_and_not_repeated(
    secret: str, tmp_path: Path
) -> None:
    made = spec("webhook", url="https://hook.lab.example/", secret_file=secret_file(tmp_path, secret))
    assert isinstance(made, WebhookSpec)
    with pytest.raises(SettingsError, match="receivers: on-call: secret") as caught:
        Webhook(made, Http(environment={}))
    assert secret not in str(caught.value)


def test_a_refusal_neither_repeats_nor_logs_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        http = Http(environment={})
        async with recording(says(500, f"{OLD} {NEW}")) as server:
            made = spec(
                "webhook", url=f"{server.url}/in?key=k1", secret_file=secret_file(tmp_path, f"{OLD}\n{NEW}")
            )
            assert isinstance(made, WebhookSpec)
            with pytest.raises(DeliveryError) as caught:
                await Webhook(made, http).deliver(told())
            await http.close()
            assert caught.value.retriable
            assert not any(secret in str(caught.value) for secret in (OLD, NEW, "k1"))

    caplog.set_level(logging.DEBUG)
    asyncio.run(scenario())
    assert "whsec_" not in caplog.text
