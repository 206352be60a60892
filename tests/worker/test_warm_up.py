"""What is compiled before the first record comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRACES = sorted((Path(__file__).parents[1] / "detection" / "traces").glob("*.parquet"))
PROGRAM = """
import sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from anomaly.monitor.limits import Limits
from anomaly.replay.run import Replay
from anomaly.worker.warm_up import warm_up

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith(("anomaly", "detectors"))]
    kernels = {each for module in modules for each in vars(module).values() if isinstance(each, Dispatcher)}
    return {f"{each.__module__}.{each.__name__}" for each in kernels if each.signatures}

warm_up(Limits())
before = compiled()
assert len(before) > 10
assert list(Replay(Limits()).transitions([Path(file) for file in sys.argv[1:]]))
print(*(compiled() - before))
"""


def test_real_runs_and_their_faults_find_every_kernel_compiled() -> None:
    assert len(TRACES) > 10
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, TRACES)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
