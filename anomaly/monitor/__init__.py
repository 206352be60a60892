"""One partition's runs, judged: pure, no I/O, no clock.

Reading order, which is the order of the data:

    log         what goes in and what comes out
    monitor     a raw record: decode, home, duplicates, held, parked
    lives       which runs are known, closed, forgotten
    held        what waits for its layout
    apply       a message: slots, admission, attempts
    forks       a run that starts from what its parent knows
    restarts    new, repeated, late, or a rank that starts over
    series      which value belongs to which slot; numbering: names as numbers, and how a layout adds to them;
                meaning: how its signal is charted;
                objectives: whether the loss is what the run is after
    placing     a layout's values in slot order
    plain       the short way of records that say nothing new; stretch: what makes them such
    judge       one record on every path; owners: whose values are charted where several ranks report
    nonfinite   the hard rule; rules: other exact rules; rounded: what rounded numbers cannot tell; context: what
                explains a change
    charts      the slab's verdicts as alarms; matters: what is a loss to anybody; learning: what moves because the
                run learns; own_series: of series of unknown unit; losses: the slow climb
    kin         which layers have their like; vectors: whose weights are a vector; mixture: which are parts of experts;
                anchors: where levels stood before
    survey      every sixteenth reading: what the last ones say together (history, flatness,
                odd_losses, evaluations, resumes, schedule, scaling, growth, rewards, pace, noise,
                strays, leaps, swelling of norms, first_steps); before_resume: what a resume is held against
    symptoms    what else the suspected layers show; explanation: which benign explanations there are
    stillness   weights whose norms no longer move; jumps: or move further than updates reach
    peers       which ranks of a step are compared, and when; peer_columns: what is compared; comparisons: what that
                says; standing_out: by far, before what is usual is known; replicas: ranks that must agree
    missing_layers  (layer_looks) a layer that no longer reports
    timers      what only time can tell: a silent run
    watches     the series that a user's river detectors watch
    state       what is known of a run; recent: its last steps; snapshot: the same as bytes, which snapshot_checks asks
                whether they fit
"""

from anomaly.monitor.limits import Limits
from anomaly.monitor.log import DeadLetter, Forward, LogRecord, Outcome
from anomaly.monitor.monitor import PartitionMonitor
from anomaly.monitor.state import RunState

__all__ = ["DeadLetter", "Forward", "Limits", "LogRecord", "Outcome", "PartitionMonitor", "RunState"]
