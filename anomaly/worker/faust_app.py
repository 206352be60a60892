"""The Faust app's own settings: what keeps stock Faust from losing or delaying anything."""

from __future__ import annotations

from typing import Any

import faust

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.settings import Settings
from anomaly.topics import SNAPSHOT_MAX_BYTES
from anomaly.worker.consumer_thread import BatchApp
from anomaly.worker.guard import Lease
from anomaly.worker.transport import SCHEME

FETCH_BYTES = 512 * 1024
"""Of one partition, save for a single larger batch. Memory for a fetch stays with the process; more is no faster."""


def build_app(settings: Settings, partitions: int, lease: Lease) -> BatchApp:
    """The Faust app with the settings that keep it from losing or delaying anything."""
    brokers = [f"{SCHEME}://{server}" for server in settings.connection.servers]
    return BatchApp(
        settings.topics.consumer_group,
        lease=lease,
        idempotent=not settings.development_broker,
        broker=";".join(brokers),
        broker_credentials=_credentials(settings.connection),
        datadir=settings.data_dir,
        store="memory://",  # the changelog is the truth
        table_standby_replicas=0,  # the store forgets what is not ours; a standby's states would be read with holes
        web_enabled=False,  # /metrics and the rest are ours
        topic_partitions=partitions,
        topic_allow_declare=False,  # preflight made them; without CREATE Faust would not start
        topic_disable_leader=True,  # joins in 2 s instead of 30
        stream_buffer_maxsize=128,  # snapshots that wait to be read at recovery; each may be large
        stream_wait_empty=False,  # our own lock does it
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.session_timeout_seconds / 6,
        broker_request_timeout=max(90.0, settings.session_timeout_seconds + 10),
        broker_max_poll_records=1000,  # bounds a batch
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_metadata_max_age_ms=15_000,  # how soon a changed partition count is noticed
        producer_max_request_size=SNAPSHOT_MAX_BYTES - 65_536,
        producer_max_batch_size=1 if settings.development_broker else 16_384,
        producer_request_timeout=60.0,
    )


def _credentials(connection: Connection) -> Any:
    """What Faust calls the login and the encryption; None where there is neither."""
    options = kafka_options(connection)
    context = options.get("ssl_context")
    if "sasl_oauth_token_provider" in options:
        return faust.OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    if connection.sasl:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
