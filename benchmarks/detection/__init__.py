"""How well faults are found, and how quietly: a corpus of labelled runs, and a scoreboard over every known detector.

Of the corpus, in the order of the data:

plan        one run, as data; drawing: how it is drawn; corpus: which runs a part has; small: those kept for the tests
batches     what it learns from
models      what it trains; transformers, notes: what they say of themselves; building: a plan's model
replica     one rank with the real hook; training: the loop over all; schedules, optimizers, scaling
injections  where something may take hold of the loop; events: what is no fault
catalogue   the faults; faults: at work, with faults_gradients, _layers, _updates, _losses and _ranks
trace       what the hook sent, decoded; table: as a file for replay
generate    the command: the runs of a part, side by side

Of the scoreboard, in the order of the data:

labels      what is known of a run: its fault, its benign events; series: its records as arrays
ours        a run through our monitor (the replay's path); remembered: what was seen, until the code changes
peers       the published rules (peer_losses, peer_layers), on a peer_view of a run; peer_runs: runs through all of them
oracle      whether a fault shows at all: a test that knows where and when; affected, exact: in which series;
            visibility: for a corpus
scoring     found, false, late, localised: one run's score
public_logs whole-model logs of public runs, and their scores
board       all detectors over their knobs
tally       many runs' scores as figures; intervals: how sure they are; figures: those that have targets
told        scores for a terminal, with told_public; page: for RESULTS.md
plots       pictures of it; worst: the worst misses and false alarms, one picture each
looked      the log of looks at the test part; keeping: what is written where
scoreboard  the command
"""
