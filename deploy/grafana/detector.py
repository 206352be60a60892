"""*The detector itself*: whether runs are watched and pages arrive."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import DETECTOR, Panel, Query, board, graph, labels_table, laid_out, number


def detector() -> Dashboard:
    """The dashboard."""
    made = board(
        "The detector itself",
        DETECTOR,
        "Whether runs are watched and pages arrive. What to do about an alert: docs/operations.md.",
        "3h",
    )
    return laid_out(
        made,
        ("", 4, _numbers()),
        ("Records", 8, _records()),
        ("Incidents and what was refused", 8, _outcomes()),
        ("State", 8, _state()),
        ("Processes", 8, _processes()),
        ("Notifier", 8, _deliveries()),
        ("", 8, _notifier()),
    )


def _quantile(share: float, histogram: str, over: str = "$__rate_interval") -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket[{over}])))"


def _rate(counter: str, *labels: str) -> str:
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({counter}[$__rate_interval]))"


def _numbers() -> list[Panel]:
    return [
        number(
            "Workers ready",
            "They have partitions and recovered states.",
            "sum(anomaly_ready) or vector(0)",
            red_below=1,
        ),
        number(
            "Notifiers ready",
            "They read incidents and know what was sent.",
            "sum(anomaly_notify_ready) or vector(0)",
            red_below=1,
        ),
        number("Runs", "Runs that the workers know.", "sum(anomaly_runs)"),
        number(
            "Seconds behind",
            "Age of what is judged now; 0 where nothing waits.",
            "max(anomaly_seconds_behind)",
            "s",
            orange_from=10,
            red_from=120,
        ),
        number(
            "Refused today",
            "Messages in the dead letters of the last day.",
            "sum(increase(anomaly_dead_letters_total[1d]))",
            orange_from=1,
            decimals=0,
        ),
        labels_table(
            "Alerts on ourselves",
            "Firing now. docs/operations.md says what to do.",
            'max by (alertname, severity) (ALERTS{alertstate="firing",service="training-anomaly"})',
            ["alertname", "severity"],
            "firing",
            "short",
        ),
    ]


def _records() -> list[Panel]:
    return [
        graph(
            "Records",
            "Messages and values judged in a second.",
            Query("anomaly:records:rate5m", "messages/s"),
            Query("anomaly:values:rate5m", "values/s"),
        ),
        graph(
            "Bytes",
            "Of the messages read.",
            Query(_rate("anomaly_telemetry_bytes_total"), "bytes/s"),
            unit="Bps",
        ),
        graph(
            "Lag",
            "Messages not yet processed, by partition.",
            Query("sum by (partition) (anomaly_lag_records)", "{{partition}}"),
        ),
        graph(
            "Batch of messages",
            "Time to judge one batch of one partition.",
            Query(_quantile(0.5, "anomaly_processing_seconds"), "median"),
            Query(_quantile(0.99, "anomaly_processing_seconds"), "99 %"),
            unit="s",
        ),
    ]


def _outcomes() -> list[Panel]:
    return [
        graph(
            "Incident latency",
            "From a record's timestamp until its incident is on the topic; over an hour.",
            Query(_quantile(0.5, "anomaly_incident_latency_seconds", "1h"), "median"),
            Query(_quantile(0.99, "anomaly_incident_latency_seconds", "1h"), "99 %"),
            unit="s",
        ),
        graph(
            "Transitions",
            "Incidents opened, updated and resolved in a second.",
            Query(_rate("anomaly_transitions_total", "status"), "{{status}}"),
        ),
        graph(
            "Dead letters",
            "Messages refused in a second, by reason.",
            Query(_rate("anomaly_dead_letters_total", "reason"), "{{reason}}"),
        ),
        graph(
            "Ignored, forwarded, beyond limits",
            "Records that change nothing, records sent home, values refused; in a second.",
            Query(_rate("anomaly_ignored_total", "reason"), "{{reason}}"),
            Query(_rate("anomaly_forwarded_total"), "forwarded"),
            Query(_rate("anomaly_refused_values_total", "reason"), "{{reason}}"),
        ),
    ]


def _state() -> list[Panel]:
    return [
        graph(
            "Runs",
            "All that are known, and those of them that are not in memory.",
            Query("sum(anomaly_runs)", "known"),
            Query("sum(anomaly_idle_runs)", "idle"),
        ),
        graph(
            "Unsaved for",
            "How long the longest waiting change has not been saved.",
            Query("max(anomaly_snapshot_age_seconds)", "seconds"),
            unit="s",
        ),
        graph(
            "States saved",
            "Bytes written to the changelog in a second.",
            Query(_rate("anomaly_snapshot_bytes_total"), "bytes/s"),
            unit="Bps",
        ),
        graph(
            "Partitions",
            "By worker; they move when one comes or goes.",
            Query("anomaly_assigned_partitions", "{{instance}}"),
            stacked=True,
        ),
    ]


def _processes() -> list[Panel]:
    ours = '{job=~"anomaly-.*"}'
    return [
        graph(
            "Memory",
            "Resident, by process.",
            Query(f"process_resident_memory_bytes{ours}", "{{instance}}"),
            unit="bytes",
        ),
        graph(
            "Processor",
            "Of one core.",
            Query(f"rate(process_cpu_seconds_total{ours}[$__rate_interval])", "{{instance}}"),
            unit="percentunit",
        ),
        graph(
            "Starts",
            "In the hour before, by process.",
            Query(f"changes(process_start_time_seconds{ours}[1h])", "{{instance}}"),
        ),
    ]


def _deliveries() -> list[Panel]:
    return [
        graph(
            "Deliveries",
            "In a second, by receiver and how they ended.",
            Query(
                _rate("anomaly_notify_deliveries_total", "receiver", "outcome"), "{{receiver}} {{outcome}}"
            ),
        ),
        graph(
            "Delivery",
            "From the incident's record on the topic until a receiver has taken it.",
            Query(_quantile(0.5, "anomaly_notify_delivery_seconds", "1h"), "median"),
            Query(_quantile(0.99, "anomaly_notify_delivery_seconds", "1h"), "99 %"),
            unit="s",
        ),
        graph(
            "Waiting",
            "Incident transitions not yet dealt with, by receiver.",
            Query("sum by (receiver) (anomaly_notify_lag_records)", "{{receiver}}"),
        ),
    ]


def _notifier() -> list[Panel]:
    return [
        graph(
            "Decisions",
            "In a second, by reason.",
            Query(_rate("anomaly_notify_decisions_total", "reason"), "{{reason}}"),
        ),
        graph(
            "Retries and failing receivers",
            "Attempts again in a second; 1 while the last attempt failed.",
            Query(_rate("anomaly_notify_retries_total", "receiver"), "{{receiver}} retries"),
            Query("max by (receiver) (anomaly_notify_failing)", "{{receiver}} fails"),
        ),
        graph(
            "Storms",
            "Storms, and incidents gathered into them, in a second.",
            Query(_rate("anomaly_notify_storms_total"), "storms"),
            Query(_rate("anomaly_notify_gathered_total"), "gathered"),
        ),
    ]
