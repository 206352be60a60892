"""The ACLs listed for a notifier are enough, and each that is missing is named."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka.admin import AclOperation

from anomaly.errors import PreflightError
from anomaly.notify.preflight import preflight
from anomaly.settings import Settings
from anomaly.topics import Topics
from tests.security.cluster import SecureKafka, group, topic
from tests.security.permissions import PARTITIONS, of_notifier, settings_for

RECEIVER = "on-call"


def refusal(settings: Settings) -> str:
    with pytest.raises(PreflightError) as caught:
        asyncio.run(preflight(settings, [RECEIVER]))
    assert str(settings.sasl_password) not in str(caught.value)
    return str(caught.value)


def test_each_acl_that_a_notifier_lacks_is_named(secure: SecureKafka, topics: Topics) -> None:
    plain = Settings(
        bootstrap_servers=secure.bootstrap_servers, topic_prefix=topics.prefix, partitions=PARTITIONS
    )
    assert asyncio.run(preflight(plain, [])).incident_partitions == PARTITIONS  # an administrator makes them
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    needed = of_notifier(topics, RECEIVER)
    for acls in needed.values():
        secure.allow(topics.prefix, acls)
    assert asyncio.run(preflight(settings, [RECEIVER])).ends == dict.fromkeys(range(PARTITIONS), 0)
    for name, acls in needed.items():
        secure.forbid(topics.prefix, acls)
        _, resource, operation = acls[0]
        text = refusal(settings)
        assert resource in text, name
        if name in ("incidents READ", "incident-actions READ"):
            # Nothing else lets it see that topic: hidden from it, it is as if it were not there.
            assert "are missing, or hidden from this notifier" in text, name
            assert "--create --topic" in text
        else:
            assert f"allow it {operation.name}" in text, name
            assert text.startswith("this notifier may not"), name
        secure.allow(topics.prefix, acls)


def test_to_see_a_topic_is_not_enough_to_read_it(secure: SecureKafka, topics: Topics) -> None:
    plain = Settings(
        bootstrap_servers=secure.bootstrap_servers, topic_prefix=topics.prefix, partitions=PARTITIONS
    )
    asyncio.run(preflight(plain, []))
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    for name, acls in of_notifier(topics, RECEIVER).items():
        if name not in ("incidents READ", "incident-actions READ"):
            secure.allow(topics.prefix, acls)
    for name in (topics.incidents, topics.incident_actions):
        secure.allow(topics.prefix, topic(name, AclOperation.DESCRIBE))
    assert refusal(settings).splitlines() == [
        f"this notifier may not read topic {name}; allow it READ on that topic"
        for name in (topics.incidents, topics.incident_actions)
    ]


def test_a_notifier_with_create_on_its_prefix_makes_its_topics(secure: SecureKafka, topics: Topics) -> None:
    settings = settings_for(secure, topics, secure.user(topics.prefix))
    assert "allow it CREATE on topics that start with" in refusal(settings)
    operations = (AclOperation.READ, AclOperation.WRITE, AclOperation.CREATE)
    secure.allow(topics.prefix, topic(f"{topics.prefix}.*", *operations))
    secure.allow(topics.prefix, group(f"{topics.consumer_group}.notify.*", AclOperation.READ))
    assert asyncio.run(preflight(settings, [RECEIVER])).incident_partitions == PARTITIONS
