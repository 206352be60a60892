"""An Apache Kafka that demands TLS and logins, and permits only what its ACLs say."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

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

from tests.kafka_servers import ApacheKafka
from tests.security.certificates import ELSEWHERE, Authority

LISTENERS = {
    "LOGIN": "SASL_SSL",  # SCRAM-SHA-512, PLAIN, OAUTHBEARER
    "BRIEF": "SASL_SSL",  # the same, and every connection is ended some seconds after its login
    "PLAINLOGIN": "SASL_PLAINTEXT",  # SCRAM-SHA-512
    "MUTUAL": "SSL",  # a client certificate is needed
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",  # its certificate is for another host
}
REAUTHENTICATION_MS = 3000
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
_HASH_ROUNDS = 4096

Allowed = tuple[ResourceType, str, AclOperation]


def topic(name: str, *operations: AclOperation) -> list[Allowed]:
    """What may be done with one topic."""
    return [(ResourceType.TOPIC, name, operation) for operation in operations]


def group(name: str, *operations: AclOperation) -> list[Allowed]:
    """What may be done with one consumer group."""
    return [(ResourceType.GROUP, name, operation) for operation in operations]


class SecureKafka(ApacheKafka):
    """One broker. Nobody but the tests' own admin, on the plain listener, may do what no ACL allows.

    ``ca`` signed the brokers' certificates; `user` makes a login; `allow` and `forbid` change ACLs and return once
    they hold.
    """

    def __init__(self) -> None:
        self._keys = TemporaryDirectory(prefix="kafka-keys-")
        self.authority = Authority(Path(self._keys.name))
        super().__init__(
            settings=self._secure_settings(),
            listeners=LISTENERS,
            format_arguments=(),
        )
        self.ca = str(self.authority.ca)
        self._passwords: dict[str, str] = {}

    def close(self) -> None:
        """End it and remove its keys."""
        super().close()
        self._keys.cleanup()

    @cached_property
    def admin(self) -> AdminClient:
        """A client that may do everything."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def user(self, name: str, password: str | None = None) -> str:
        """Make a SCRAM login, or change its password; return the password."""
        password = password or secrets.token_hex(12)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _HASH_ROUNDS)
        change = UserScramCredentialUpsertion(name, info, password.encode(), secrets.token_bytes(16))
        self.admin.alter_user_scram_credentials([change])[name].result(30)
        return password

    def allow(self, user: str, allowed: Iterable[Allowed]) -> None:
        """Add ACLs for `user`; wait until the broker obeys them."""
        bindings = [_binding(user, *one) for one in allowed]
        for future in self.admin.create_acls(bindings).values():
            future.result(30)

    def forbid(self, user: str, allowed: Iterable[Allowed]) -> None:
        """Take ACLs of `user` away."""
        filters = [_filter(user, *one) for one in allowed]
        for future in self.admin.delete_acls(filters).values():
            future.result(30)

    def _secure_settings(self) -> dict[str, str]:
        good = self.authority.keystore("broker", *self.authority.sign("broker"))
        expired = self.authority.keystore("expired", *self.authority.sign("expired", seconds=-60))
        elsewhere = self.authority.keystore("elsewhere", *self.authority.sign("elsewhere", names=ELSEWHERE))
        settings = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",  # the plain listener: the broker itself and the tests' admin
            "inter.broker.listener.name": "PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(good),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca),
            "listener.name.expired.ssl.keystore.location": str(expired),
            "listener.name.elsewhere.ssl.keystore.location": str(elsewhere),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
            "listener.name.brief.connections.max.reauth.ms": str(REAUTHENTICATION_MS),
        }
        for name, protocol in LISTENERS.items():
            if protocol.startswith("SASL"):
                settings |= _logins(name.lower(), protocol == "SASL_SSL")
        return settings


def _logins(listener: str, encrypted: bool) -> dict[str, str]:
    mechanisms = {"SCRAM-SHA-512": _SCRAM}
    if encrypted:
        users = 'user_plainuser="plain-password-of-tests"'
        mechanisms["PLAIN"] = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        mechanisms["OAUTHBEARER"] = f'{_OAUTH} unsecuredLoginStringClaim_sub="broker";'
    prefix = f"listener.name.{listener}."
    jaas = {f"{prefix}{name.lower()}.sasl.jaas.config": text for name, text in mechanisms.items()}
    return {f"{prefix}sasl.enabled.mechanisms": ",".join(mechanisms), **jaas}


def token(subject: str, seconds: float = 3600.0) -> str:
    """An unsigned token, which Kafka's test validator takes."""

    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    now = time.time()
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now, 'exp': now + seconds})}."


def _binding(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    return AclBinding(
        kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW
    )


def _filter(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBindingFilter:
    return AclBindingFilter(
        kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW
    )
