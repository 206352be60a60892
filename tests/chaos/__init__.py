"""Seeded faults on real Apache Kafka: whatever happens, the worker's states and incidents are as if nothing had.

    scenario    what a seed draws: brokers, producers, sizes of states, when which fault happens
    clusters    Apache Kafka behind a TCP proxy (`proxy`), one cluster for many scenarios
    producing   the producer, a process of its own: both client libraries, restarts from a checkpoint
    stage       a cluster, workers and producers while a scenario runs
    faults      what can happen to them
    verdict     the comparison with a run of the same log without faults

``make chaos SEEDS=100`` runs a hundred drawn scenarios and prints a table; ``python -m tests.chaos --help``.
"""
