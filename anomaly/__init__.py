"""Watches a training run's telemetry over Kafka, and says within a second which layer went wrong, at which step.

The modules in reading order, which is the order of the data:

    signals      what may be measured, by name and unit
    records      what travels: step records, the layout they follow, a rank's place, a run's fork
    codec        the compact form;  json_records: the form for everyone else
    topics       topic names, keys, partitions
    connection   how every Kafka client reaches the brokers;  refusals: what their errors mean

    on the training host                          in the worker
    torch, jax   measure each layer               settings     what the worker is told
    pending      steps not yet off the device
    hook         `Telemetry`, the training        worker       Kafka to monitor and back, saved state
                 loop's side                      monitor      one run's state: judging its series (detectors)
    rows         names to one row of float32      incidents    alarms become incidents with a history
    backlog      what waits, bounded              metrics      what Prometheus sees
    outbox       records into messages            replay       files instead of Kafka, the same monitor
    producer     the sending thread
    sender       one acknowledged message

    cli, commands    ``anomaly worker``, ``anomaly tail``, …     broker, demo    to try it on one machine

What a training script needs is here; importing it brings numpy and msgspec, and Kafka's client only once it is used.
"""

from anomaly.connection import Connection
from anomaly.errors import (
    AnomalyError,
    KafkaUnreachableError,
    LayoutMissingError,
    MissingExtraError,
    PreflightError,
    Reason,
    RecordError,
    SettingsError,
    SnapshotError,
)
from anomaly.hook import Telemetry
from anomaly.records import Fork, Layout, Place

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "Connection",
    "Fork",
    "KafkaUnreachableError",
    "Layout",
    "LayoutMissingError",
    "MissingExtraError",
    "Place",
    "PreflightError",
    "Reason",
    "RecordError",
    "SettingsError",
    "SnapshotError",
    "Telemetry",
    "__version__",
]
