"""Measures the project against itself and against simpler designs: ``python -m benchmarks``.

Reading order:

    load         what the measured runs report: healthy telemetry, in the compact form or as JSON a layer
    topics       topics filled with it before anything is measured
    processes    brokers, workers and reference programs as processes, and the CPU time they took
    looks        values and CPU-seconds of running workers
    throughput   values per CPU-second of a worker, and of the programs in `reference` on the same topic
    growth       what more runs and a second worker cost
    cold_start   from starting the process to the first judged record
    publisher    a program that publishes as many hooks do, with faults at drawn runs
    latency      from publishing a fault to its incident
    probes       a program that looks at a worker from outside a hundred times a second
    state        a thousand runs at work: memory, pauses, recovery
    overwritten  recovery from a changelog that was overwritten a hundred times
    hook_overhead    what the hook costs a training step
    gates        every target, and what is wrong with a set of rows
    rows, sections, results_page, machine    the result: a table, results.json, RESULTS.md
    scale, scale_page, group_simulation      what follows for larger installations: SCALE.md

What each row means: README.md beside this file.
"""
