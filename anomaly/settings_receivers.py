"""``[[receivers]]`` of ``anomaly.toml``: who gets pages, and how. One dataclass a type; `TYPES` lists them.

A secret (a routing key, a token, a password) is in a file that the table names, or in the environment as
``ANOMALY_RECEIVER_<NAME>_<FIELD>``: ``ANOMALY_RECEIVER_ON_CALL_ROUTING_KEY`` for the receiver ``on-call``.
`anomaly.notify.secret_files` reads it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from anomaly.connection import Secret
from anomaly.settings_checks import between, not_empty, web_url
from anomaly.settings_tables import each_of, key, keys_of, made, nearest, problems_of

_LOOPBACK = re.compile(r"http://(127\.[0-9.]+|localhost|\[::1\])(:|/|$)")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def _receiver_name(value: str) -> str | None:
    if _NAME.fullmatch(value):
        return None
    return (
        f"got {value!r}; up to 40 small letters, digits and hyphens between them are allowed, such as on-call"
    )


def _security(value: str) -> str | None:
    known = ("starttls", "tls", "none")
    return None if value in known else f"got {value!r}; give one of {', '.join(known)}"


def _address(value: str) -> str | None:
    if value == "{owner}" or re.fullmatch(r"[^@\s{}]+@[^@\s{}]+", value):
        return None
    return (
        f"got {value!r}; give an address such as oncall@lab.org, or {{owner}} for the owner in the run's tags"
    )


def _domain(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9.-]+", value) else f"got {value!r}; give a domain such as lab.org"


def _private_url(value: str) -> str | None:
    problem = web_url(value)
    if problem is None and value.startswith("http:") and not _LOOPBACK.match(value):
        return f"got {value!r}, which would send the secret as it is; give https://"
    return problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverSpec:
    """What every receiver has. Pages that cannot be delivered within the deadline go to `fallback`, if there is one."""

    type: str = key(str)
    name: str = key(str, check=_receiver_name)
    fallback: str = key(str, "", not_empty)
    deadline_seconds: float = key(float, 300.0, between(1, 86_400))
    pages_per_minute: int = key(int, 5, between(1, 1000))

    SECRETS: ClassVar[tuple[tuple[str, bool], ...]] = ()
    """Each secret, and whether it is needed. It is given in one way: a file or the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerSpec(ReceiverSpec):
    """One or several Alertmanagers that know of each other; each gets every alert."""

    urls: tuple[str, ...] = key(tuple, check=each_of(web_url))
    username: str = key(str, "", not_empty)
    password: str = key(str, Secret(), secret=True)
    password_file: str = key(str, "", not_empty)

    SECRETS = (("password", False),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDutySpec(ReceiverSpec):
    """A service of PagerDuty, by its integration key for Events API v2."""

    url: str = key(str, "https://events.pagerduty.com", _private_url)
    routing_key: str = key(str, Secret(), secret=True)
    routing_key_file: str = key(str, "", not_empty)

    SECRETS = (("routing_key", True),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSpec(ReceiverSpec):
    """A channel of Slack, by a bot's token."""

    channel: str = key(str, check=not_empty)
    url: str = key(str, "https://slack.com/api", _private_url)
    token: str = key(str, Secret(), secret=True)
    token_file: str = key(str, "", not_empty)

    SECRETS = (("token", True),)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailSpec(ReceiverSpec):
    """Mail over SMTP. ``{owner}`` in `to` is the owner in the run's tags, if their domain is one of `owner_domains`."""

    host: str = key(str, check=not_empty)
    port: int = key(int, 587, between(1, 65_535))
    security: str = key(str, "starttls", _security)
    username: str = key(str, "", not_empty)
    password: str = key(str, Secret(), secret=True)
    password_file: str = key(str, "", not_empty)
    sender: str = key(str, check=_address, written="from")
    to: tuple[str, ...] = key(tuple, check=each_of(_address))
    owner_domains: tuple[str, ...] = key(tuple, (), each_of(_domain))

    SECRETS = (("password", False),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSpec(ReceiverSpec):
    """Any HTTP endpoint, signed with a secret that it shares with us."""

    url: str = key(str, check=web_url)
    secret: str = key(str, Secret(), secret=True)
    secret_file: str = key(str, "", not_empty)

    SECRETS = (("secret", True),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseSpec(ReceiverSpec):
    """Any service that apprise knows, by its address, which holds the secrets."""

    url: str = key(str, Secret(), secret=True)
    url_file: str = key(str, "", not_empty)

    SECRETS = (("url", True),)


TYPES: Mapping[str, type[ReceiverSpec]] = {
    "alertmanager": AlertmanagerSpec,
    "pagerduty": PagerDutySpec,
    "slack": SlackSpec,
    "email": EmailSpec,
    "webhook": WebhookSpec,
    "apprise": AppriseSpec,
}


def with_secrets(tables: Any, environment: Mapping[str, str]) -> Any:
    """`tables` with the secrets that the environment holds for them. What is no table is left for the check."""
    if not isinstance(tables, list | tuple):
        return tables
    return tuple(_with_secrets(table, environment) for table in tables)


def _with_secrets(table: Any, environment: Mapping[str, str]) -> Any:
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        return table
    kind = TYPES.get(str(table.get("type")), ReceiverSpec)
    found = {field: environment.get(secret_variable(table["name"], field)) for field, _ in kind.SECRETS}
    return {**table, **{field: Secret(value) for field, value in found.items() if value is not None}}


def secret_variable(name: str, field: str) -> str:
    """Where the environment holds a receiver's secret.

    >>> secret_variable("on-call", "routing_key")
    'ANOMALY_RECEIVER_ON_CALL_ROUTING_KEY'
    """
    return f"ANOMALY_RECEIVER_{name}_{field}".upper().replace("-", "_")


def receiver_specs(tables: Iterable[Mapping[str, Any]]) -> tuple[ReceiverSpec, ...]:
    """The tables, in which nothing is wrong, each as its type's dataclass."""
    return tuple(made(TYPES[table["type"]], table) for table in tables)


def receiver_problems(tables: Iterable[Any]) -> str | None:
    """Everything that is wrong with ``[[receivers]]``, a line each."""
    tables = list(tables)
    names = [str(table["name"]) for table in tables if isinstance(table, Mapping) and "name" in table]
    twice = (
        f"{name}: is the name of {count} receivers" for name, count in Counter(names).items() if count > 1
    )
    problems = [f"{text}; give each its own" for text in twice]
    for number, table in enumerate(tables, 1):
        if not isinstance(table, Mapping):
            problems.append(f"number {number}: must be a table; write it as [[receivers]]")
            continue
        label = table["name"] if isinstance(table.get("name"), str) else f"number {number}"
        problems += [f"{label}: {problem}" for problem in _table_problems(table, names)]
    return "\n".join(problems) or None


def _table_problems(table: Mapping[str, Any], names: list[str]) -> list[str]:
    kind = TYPES.get(table["type"]) if isinstance(table.get("type"), str) else None
    if kind is None:
        got = f"got {table['type']!r}" if "type" in table else "is missing"
        return [f"type: {got}; give one of {', '.join(TYPES)}"]
    problems = problems_of(kind, table) + _secret_problems(kind, table) + _login_problems(table)
    fallback = table.get("fallback")
    if isinstance(fallback, str) and fallback and (fallback == table.get("name") or fallback not in names):
        others = [name for name in names if name != table.get("name")]
        hint = nearest(fallback, others, f"there are {', '.join(others)}" if others else "there is no other")
        problems.append(f"fallback: got {fallback!r}, which is no other receiver; {hint}")
    if "{owner}" in table.get("to", ()) and not table.get("owner_domains"):
        problems.append(
            "owner_domains: is needed with {owner}: tags could name any address; give the domains that may get mail"
        )
    return problems


def _secret_problems(kind: type[ReceiverSpec], table: Mapping[str, Any]) -> list[str]:
    problems = []
    for field, needed in kind.SECRETS:
        variable = secret_variable(str(table.get("name", "<NAME>")), field)
        given = [name for name in (field, f"{field}_file") if name in table]
        if len(given) == 2 and isinstance(table[field], Secret):
            problems.append(f"{field}: is given twice; give either {field}_file or {variable}")
        elif needed and not given:
            problems.append(f"{field}: is missing; give {field}_file, or {variable} in the environment")
    return problems


def _login_problems(table: Mapping[str, Any]) -> list[str]:
    has_password = "password" in table or "password_file" in table
    if ("username" in table) != has_password and "password" in keys_of(TYPES[table["type"]]):
        missing = "username" if has_password else "password_file"
        return [f"{missing}: is missing; a login needs both a username and a password"]
    if has_password and table.get("security") == "none":
        return ["security: none would send the password as it is; give starttls or tls"]
    return []
