"""The notifier: incidents reach people. `anomaly notify`, or a thread of the worker's process.

Knows nothing of Faust: a plain consumer of the incidents topic, a group for each receiver, progress committed once a
page is delivered and the ledger says so. Reading order:

    delivery                     what goes to a receiver, and what one is
    decide   (routing, entry)    what to tell of a transition, and why; pure
    gate                         how many pages a receiver gets; pure
    desk     (office, compose, storm)  what one receiver was told of each incident, and what it is told next
    courier  (retry)             attempt after attempt until the deadline, then to the fallback
    ledger   (entry)             what was told, in a compacted topic
    lane     (queues, progress, one_owner, pulse)  the consumer in front of a desk
    actions                      what people do with incidents, followed
    service  (preflight)         all lanes and what they share
    process, thread, trial       as a process, or in a worker; one page on trial
    page     (links, quantities, inert)  what a person reads
    pictures (evidence, gathering, wanted, window, strips)  what was measured, read again from telemetry
    picture  (picture_curve, picture_strip, lettering)  and drawn for a phone
    receivers (http, secret_files)  the ways there are, a module each
"""
