"""How well faults are found, and how quietly: a corpus of labelled runs, and a scoreboard over every known detector.

Of the scoreboard, in the order of the data:

labels      what is known of a run: its fault, its benign events
ours        a run through our monitor (the replay's path), remembered until the code changes
peers       the published rules, each as it is published; peer_runs: a run through each of them
oracle      whether a fault shows at all: a test that knows where and when
scoring     found, false, late, localised: one run's score
tally       many runs' scores as figures; intervals: how sure they are
public_logs whole-model logs of public runs
plots       pictures of it; worst: the worst misses and false alarms, one picture each
scoreboard  the command: prints, and writes RESULTS.md and results.json
"""
