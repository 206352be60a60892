"""The command line's promises: exit codes, what goes to stdout, what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from anomaly.cli import main
from tests.commands.started import start
from tests.repository import REPOSITORY

CLOSED = "127.0.0.1:1"


def test_no_command_is_wrong_usage_and_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: anomaly" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["replay"], ["runs"], ["config", "--nonsense"]])
def test_wrong_usage_exits_with_2(arguments: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("anomaly ")


def test_the_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from anomaly.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'aiokafka', 'faust', 'jax', 'numba', 'pyarrow', 'rich', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def test_all_wrong_settings_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--partitions", "0", "--bootstrap-servers", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert "partitions (--partitions)" in told
    assert "bootstrap_servers (--bootstrap-servers)" in told


@pytest.mark.parametrize("command", [["tail"], ["runs", "list"], ["runs", "show", "r1"]])
def test_kafka_out_of_reach_exits_with_69_and_says_why(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--bootstrap-servers", CLOSED]) == 69
    told = capsys.readouterr()
    assert told.out == ""
    assert f"no Kafka broker answers at {CLOSED} (" in told.err


def test_config_shows_each_value_and_where_it_comes_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text('topic_prefix = "speech"\n')
    assert main(["config", "--json", "--config", str(file), "--partitions", "8"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["topic_prefix"] == {"value": "speech", "origin": str(file)}
    assert shown["partitions"] == {"value": 8, "origin": "--partitions"}
    assert shown["metrics_address"]["origin"] == "default"
    assert main(["config", "--config", str(file)]) == 0
    assert f'topic_prefix = "speech"  # {file}' in capsys.readouterr().out


def test_an_interrupt_is_quiet_and_exits_with_130(tmp_path: Path) -> None:
    fifo = tmp_path / "never.csv"
    os.mkfifo(fifo)
    process = start("replay", fifo)
    writer = os.open(fifo, os.O_WRONLY)  # returns once the command has opened it for reading
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, told) == (130, "")


def test_a_reader_that_has_enough_is_no_error() -> None:
    process = start("config")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 0
    process.stderr.close()
