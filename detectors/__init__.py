"""Pure numerics that watch series for faults: numpy in, verdicts out; no I/O, no clock, no names of runs.

Reading order, which is the order of the data:

    rows         what a slab of state holds
    profiles     how each kind of signal is judged
    levels       from a budget of false alarms to alarm levels
    lanes        functions of one number that vectorise
    kernel       the judge of 16 slots: spike and shift charts; tiles: of a record, compiled; sources: what from
    constants    the numbers of a slab's profiles, as its tiles need them
    slab         all series of one run, judged in one call; pads: what that works in; gathered: some slots of it
    siblings     a layer that moved alone; stray: one that went where no other did, without a past; outlying: one that
                 is where no other is
    swelling     levels that grow by the same factor again and again
    leaps        levels that moved at once and stay, in series of few readings
    climb        losses that rise slowly
    flat         losses that no longer fall
    bumps        losses far above their last readings; quiet: far below, or still
    unmoved      numbers that are bit for bit what they were; unsteady: noise that grows in one of many
    paired       evaluations that get worse; samples: a loss before and after a resume
    trends       gradients that grow by a factor or by an amount; pace: steps that became slower
    runlength    exact conditions that held too long
    peers        ranks against each other (peer_state: what is known of them); consensus: medians and votes
    fences       whether a few numbers are as they are expected to be; no detector
    rounding     whether numbers were rounded before they were sent; no detector
    river_watch  any river detector on a chosen series

Each of them again in plain Python, to test against: tests/detectors/oracles.py.
"""
