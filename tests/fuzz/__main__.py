"""``python -m tests.fuzz N SEED [kafka]``: N records of noise and good runs; exits 1 if something broke.

Through the monitor alone; with ``kafka`` through an Apache Kafka of its own and a worker process.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.results_page import replace_section
from tests.fuzz.stream import Found, Stream

LOOKS = 10


def rss_mib() -> float:
    """What this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main(count: int, seed: int) -> int:
    """Fuzz, print, return the exit code."""
    warnings.simplefilter("error")
    lines: list[str] = []
    parts = ((1, count - count // 5), (3, count // 5))
    broken = 0
    for partitions, records in parts:
        stream, began = Stream(seed, partitions), time.perf_counter()
        for _ in range(LOOKS):
            stream.run(records // LOOKS)
            found, seconds = stream.found, time.perf_counter() - began
            print(
                f"{partitions} partitions, {found.records:,} records, {found.records / seconds:,.0f}/s, "
                f"RSS {rss_mib():,.0f} MiB, problems {found.fates['problems']}",
                flush=True,
            )
        rate = found.records / seconds
        lines.append(
            f"{partitions} partitions, {found.records:,} records, {rate:,.0f}/s, RSS {rss_mib():,.0f} MiB"
        )
        lines += _lines(stream.found)
        print("\n".join(_lines(stream.found)))
        broken += stream.found.fates["problems"]
    _keep("fuzz", f"make fuzz N={count} SEED={seed}", lines)
    return 1 if broken else 0


def _lines(found: Found) -> list[str]:
    lines = [
        f"  good records {found.good:,}; transitions {found.transitions:,}; passed over {found.passed_over:,}"
    ]
    lines += [f"  {fate:24} {number:>12,}" for fate, number in found.fates.most_common()]
    return lines + [f"  PROBLEM: {problem}" for problem in found.problems]


def _keep(section: str, command: str, lines: list[str]) -> None:
    """In RESULTS.md, with the machine."""
    machine = [f"- {line}" for line in describe("Apache Kafka" if section == "fuzz-kafka" else "none")]
    replace_section(section, "\n".join([f"`{command}`", "", *machine, "", "```", *lines, "```"]))


def through_kafka(count: int, seed: int) -> int:
    """The same with real servers."""
    from tests.fuzz.kafka import fuzz_kafka
    from tests.kafka_servers import ApacheKafka

    with ApacheKafka(heap="1g") as server, tempfile.TemporaryDirectory() as folder:
        seen = fuzz_kafka(server.bootstrap_servers, "fuzz", Path(folder), count, seed)
    rate = seen.sent / seen.seconds
    lines = [
        f"{seen.sent:,} records through Kafka in {seen.seconds:.0f} s, {rate:,.0f}/s, {seen.transitions:,} transitions",
        f"  worker's peak RSS: {seen.peak_mib['before']:,.0f} MiB before, {seen.peak_mib['after']:,.0f} MiB after",
    ]
    lines += [f"  {reason:24} {number:>12,}" for reason, number in seen.parked.most_common()]
    lines += [f"  PROBLEM: {problem}" for problem in seen.problems]
    print("\n".join(lines))
    _keep("fuzz-kafka", f"make fuzz-kafka N={count} SEED={seed}", lines)
    return 1 if seen.problems else 0


if __name__ == "__main__":
    count, seed = (int(argument.replace("_", "")) for argument in sys.argv[1:3])
    sys.exit(through_kafka(count, seed) if "kafka" in sys.argv[3:] else main(count, seed))
