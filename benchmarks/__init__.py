"""Measures the project against itself and against simpler designs: ``python -m benchmarks``.

Reading order:

    load         what the measured runs report: healthy telemetry, in the compact form or as JSON a layer
    topics       topics filled with it before anything is measured
    processes    brokers, workers and reference programs as processes, and the CPU time they took
    throughput   values per CPU-second of a worker, and of the programs in `reference` on the same topic
    publisher    a program that publishes as many hooks do, with faults at drawn runs
    latency      from publishing a fault to its incident
    hook_overhead    what the hook costs a training step
    rows         the result: a table, and results.json

What each row means: README.md beside this file.
"""
