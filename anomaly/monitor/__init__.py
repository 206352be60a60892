"""One partition's runs, judged: pure, no I/O, no clock.

Reading order, which is the order of the data:

    monitor     a raw record: decode, home, duplicates, held, parked
    held        what waits for its layout
    apply       a message: slots, admission, attempts
    restarts    new, repeated, late, or a rank that starts over
    series      which value belongs to which slot; meaning: how its signal is charted
    judge       one record on every path
    nonfinite   the hard rule; rules: other exact rules; context: what explains a change
    charts      the slab's verdicts as alarms; losses: the slow climb; peers: ranks against each other
    state       what is known of a run; snapshot: the same as bytes
"""

from anomaly.monitor.limits import Limits
from anomaly.monitor.monitor import DeadLetter, Forward, LogRecord, Outcome, PartitionMonitor
from anomaly.monitor.state import RunState

__all__ = ["DeadLetter", "Forward", "Limits", "LogRecord", "Outcome", "PartitionMonitor", "RunState"]
