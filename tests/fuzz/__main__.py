"""``python -m tests.fuzz N SEED``: N records of noise and good runs through the monitor; exits 1 if something broke."""

from __future__ import annotations

import resource
import sys
import time
import warnings

from tests.fuzz.stream import Found, Stream

LOOKS = 10


def rss_mib() -> float:
    """What this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main(count: int, seed: int) -> int:
    """Fuzz, print, return the exit code."""
    warnings.simplefilter("error")
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
        _print(stream.found)
        broken += stream.found.fates["problems"]
    return 1 if broken else 0


def _print(found: Found) -> None:
    print(
        f"  good records {found.good:,}; transitions {found.transitions:,}; passed over {found.passed_over:,}"
    )
    for fate, number in found.fates.most_common():
        print(f"  {fate:24} {number:>12,}")
    for problem in found.problems:
        print(f"  PROBLEM: {problem}")


if __name__ == "__main__":
    count, seed = (int(argument.replace("_", "")) for argument in sys.argv[1:3])
    sys.exit(main(count, seed))
