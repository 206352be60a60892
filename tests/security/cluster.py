"""An Apache Kafka that demands TLS and logins, and permits only what its ACLs say."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from anomaly.connection import Connection
from tests.kafka_servers import ApacheKafka
from tests.security.certificates import ELSEWHERE, Authority

LEAVES_CONNECTIONS = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("connections_left"),
]
LISTENERS = {
    "LOGIN": "SASL_SSL",  # SCRAM-SHA-512, PLAIN, OAUTHBEARER
    "BRIEF": "SASL_SSL",  # the same, but a connection that is not logged in anew ends after some seconds
    "BARE": "SASL_PLAINTEXT",  # SCRAM-SHA-512 without encryption
    "MUTUAL": "SSL",  # a client certificate is needed
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",  # its certificate is for another host
}
BRIEF_MS = 3000
PLAIN_USER, PLAIN_PASSWORD = "plain-user", "plain-password-9d1f"
EFFECT_SECONDS = 30.0
_SECURITY = "org.apache.kafka.common.security"
_SCRAM = f"{_SECURITY}.scram.ScramLoginModule required;"
_PLAIN = f'{_SECURITY}.plain.PlainLoginModule required user_{PLAIN_USER}="{PLAIN_PASSWORD}";'
_OAUTH = f'{_SECURITY}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'

Allowed = tuple[ResourceType, str, AclOperation]
"""A kind of resource, its name (``prefix*`` for all that begin so) and what may be done with it."""


def topic(name: str, *operations: AclOperation) -> list[Allowed]:
    """What may be done with one topic."""
    return [(ResourceType.TOPIC, name, operation) for operation in operations]


def group(name: str, *operations: AclOperation) -> list[Allowed]:
    """What may be done with one consumer group."""
    return [(ResourceType.GROUP, name, operation) for operation in operations]


class SecureKafka(ApacheKafka):
    """One broker. Nobody but the tests' own admin, on the plain listener, may do what no ACL allows."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="kafka-keys-")
        self.folder = Path(self._folder.name)
        self.authority = Authority(self.folder)
        super().__init__(settings=self._settings_of_listeners(), listeners=LISTENERS)

    def close(self) -> None:
        """End it and remove its keys."""
        super().close()
        self._folder.cleanup()

    @cached_property
    def admin(self) -> AdminClient:
        """A client that may do everything."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def connection(self, listener: str = "LOGIN", **options: str) -> Connection:
        """How to reach a listener, trusting the tests' authority where it encrypts."""
        protocol = LISTENERS[listener]
        trust = {"tls_ca_file": str(self.authority.ca)} if protocol.endswith("SSL") else {}
        return Connection(self.address(listener), protocol, **{**trust, **options})

    def user(self, name: str, password: str | None = None) -> str:
        """Make a SCRAM login, or change its password; return the password once it works."""
        password = password or secrets.token_hex(12)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(name, info, password.encode(), secrets.token_bytes(16))
        self.admin.alter_user_scram_credentials([change])[name].result(EFFECT_SECONDS)
        _eventually(f"the password of {name} works", lambda: self._logs_in(name, password))
        return password

    def allow(self, user: str, allowed: Iterable[Allowed]) -> None:
        """Add ACLs for `user`; they hold on return."""
        for one in allowed:
            (made,) = self.admin.create_acls([_acl(AclBinding, user, one)]).values()
            made.result(EFFECT_SECONDS)
            _eventually("the ACL is there", lambda one=one: self._is_allowed(user, one))  # type: ignore[misc]

    def forbid(self, user: str, allowed: Iterable[Allowed]) -> None:
        """Take ACLs of `user` away; they are gone on return."""
        for one in allowed:
            (gone,) = self.admin.delete_acls([_acl(AclBindingFilter, user, one)]).values()
            gone.result(EFFECT_SECONDS)
            _eventually("the ACL is gone", lambda one=one: not self._is_allowed(user, one))  # type: ignore[misc]

    def _is_allowed(self, user: str, one: Allowed) -> bool:
        return bool(self.admin.describe_acls(_acl(AclBindingFilter, user, one)).result(EFFECT_SECONDS))

    def _logs_in(self, user: str, password: str) -> bool:
        client = AdminClient(
            {
                "bootstrap.servers": self.address("BARE"), "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": user, "sasl.password": password, "log_level": 0,
            }
        )  # fmt: skip
        try:
            client.list_topics(timeout=1)
        except KafkaException:
            return False
        return True

    def _settings_of_listeners(self) -> dict[str, str]:
        def keystore(name: str, **options: Any) -> str:
            return str(self.authority.keystore(name, *self.authority.sign(name, **options)))

        settings = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",  # on the plain listener: the broker itself and the tests' admin
            "inter.broker.listener.name": "PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": keystore("broker"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca),
            "listener.name.expired.ssl.keystore.location": keystore("expired", seconds=-60),
            "listener.name.elsewhere.ssl.keystore.location": keystore("elsewhere", names=ELSEWHERE),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
            "listener.name.brief.connections.max.reauth.ms": str(BRIEF_MS),
        }
        for listener, protocol in LISTENERS.items():
            if protocol.startswith("SASL_"):
                settings |= _logins(listener.lower(), encrypted=protocol == "SASL_SSL")
        return settings


def token(subject: str, seconds: float = 3600.0) -> str:
    """An unsigned token, as Kafka's validator for development takes it."""

    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    now = time.time()
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now, 'exp': now + seconds})}."


def _logins(listener: str, *, encrypted: bool) -> dict[str, str]:
    modules = {"SCRAM-SHA-512": _SCRAM} | ({"PLAIN": _PLAIN, "OAUTHBEARER": _OAUTH} if encrypted else {})
    prefix = f"listener.name.{listener}."
    jaas = {f"{prefix}{name.lower()}.sasl.jaas.config": text for name, text in modules.items()}
    return {f"{prefix}sasl.enabled.mechanisms": ",".join(modules), **jaas}


def _acl(make: Any, user: str, one: Allowed) -> Any:
    kind, name, operation = one
    pattern = ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL
    return make(
        kind, name.removesuffix("*"), pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW
    )


def _eventually(what: str, look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + EFFECT_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"{what}: not within {EFFECT_SECONDS:g} s"
        time.sleep(0.05)
