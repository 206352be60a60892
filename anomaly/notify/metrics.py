"""What a notifier tells Prometheus, by receiver. Everything is there with 0 from the start."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

NOTIFY_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900)
OUTCOMES = ("delivered", "failed", "fallback")


class NotifierMetrics:
    """A notifier's counts, by receiver. `registry` is the caller's; nothing global is touched."""

    def __init__(self, registry: CollectorRegistry, receivers: Iterable[str], reasons: Iterable[str]) -> None:
        self.registry = registry
        receivers, reasons = list(receivers), list(reasons)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("receiver", *labels), registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ("receiver",), registry=registry)

        self.decisions = counter(
            "anomaly_notify_decisions_total",
            "What was decided about incident transitions, and why.",
            "reason",
        )
        self.deliveries = counter(
            "anomaly_notify_deliveries_total",
            "Deliveries by what became of them: delivered, failed (nobody took it), or fallback (another took it).",
            "outcome",
        )
        self.retries = counter("anomaly_notify_retries_total", "Attempts to deliver that failed.")
        self.storms = counter("anomaly_notify_storms_total", "Pages that list many incidents at once.")
        self.gathered = counter(
            "anomaly_notify_gathered_total", "Pages beyond the receiver's limit, gathered with others."
        )
        self.failing = gauge("anomaly_notify_failing", "1 while the latest attempt to deliver has failed.")
        self.lag = gauge("anomaly_notify_lag_records", "Transitions not yet dealt with.")
        self.seconds = Histogram(
            "anomaly_notify_delivery_seconds",
            "From the record of a transition to the receiver's acknowledgement.",
            buckets=NOTIFY_BUCKETS, registry=registry,
        )  # fmt: skip
        self.ready = Gauge(
            "anomaly_notify_ready",
            "1 while every receiver's incidents are followed, or stood by for.",
            registry=registry,
        )
        self.restarts = Counter(
            "anomaly_notify_restarts_total",
            "Restarts of a notifier within a worker after an error.",
            registry=registry,
        )
        for receiver in receivers:
            for metric in (self.retries, self.storms, self.gathered, self.failing, self.lag):
                metric.labels(receiver)
            for reason in reasons:
                self.decisions.labels(receiver, reason)
            for outcome in OUTCOMES:
                self.deliveries.labels(receiver, outcome)
