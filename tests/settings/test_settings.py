"""Settings: four sources, one table, every problem at once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from anomaly.connection import MASKED
from anomaly.errors import SettingsError
from anomaly.settings import ROWS, Settings
from anomaly.settings_checks import not_empty
from anomaly.settings_row import Row
from anomaly.settings_sources import Loaded, add_flags, load


def loaded(
    folder: Path, toml: str = "", environment: dict[str, str] | None = None, flags: str = ""
) -> Loaded:
    (folder / "anomaly.toml").write_text(toml)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return load(vars(parser.parse_args(flags.split())), environment or {}, folder)


def problems(
    folder: Path, toml: str = "", environment: dict[str, str] | None = None, flags: str = ""
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(folder, toml, environment, flags)
    return caught.value.problems


def test_without_any_source_the_defaults_hold_and_are_valid(tmp_path: Path) -> None:
    assert load({}, {}, tmp_path).settings == Settings()
    assert Settings().topics.consumer_group == "training.anomaly"
    assert Settings(group="g", topic_prefix="t").topics.changelog == "g-state-changelog"


def test_file_beats_default_environment_beats_file_and_flag_beats_environment(tmp_path: Path) -> None:
    toml = 'partitions = 4\nsnapshot_seconds = 2\ngroup = "file"\n'
    environment = {"ANOMALY_SNAPSHOT_SECONDS": "3", "ANOMALY_GROUP": "environment"}
    found = loaded(tmp_path, toml, environment, "--group flag --development-broker").settings
    assert (found.partitions, found.snapshot_seconds, found.group, found.development_broker) == (
        4,
        3.0,
        "flag",
        True,
    )


def test_every_setting_has_a_flag_and_an_environment_name_save_tables(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for row in ROWS.values():
        assert (re.search(rf"{row.option}\b(?!-)", text) is not None) == row.on_command_line
        assert row.help
        assert row.environment == f"ANOMALY_{row.name.upper()}"


def test_all_problems_of_all_sources_come_together_and_say_where_they_are(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        'partition = 3\nsession_timeout_seconds = 1\nlog_level = 3\nbootstrap_servers = "kafka"\n',
        {"ANOMALY_PARTITIONS": "many", "ANOMALY_DEVELOPMENT_BROKER": "perhaps"},
        "--metrics-address 9464 --snapshot-seconds nan",
    )
    file = tmp_path / "anomaly.toml"
    assert sorted(found) == sorted(
        [
            f"partition ({file}): is no setting; did you mean partitions?",
            f"session_timeout_seconds ({file}): got 1, 6 to 300 is allowed",
            f"log_level ({file}): got 3, text is needed; put it in quotes",
            (
                f"bootstrap_servers ({file}): got 'kafka'; give HOST:PORT, such as kafka-1:9092, with commas "
                "between several"
            ),
            "partitions (ANOMALY_PARTITIONS): got 'many', a whole number is needed",
            "development_broker (ANOMALY_DEVELOPMENT_BROKER): got 'perhaps', true or false is needed",
            "metrics_address (--metrics-address): got '9464'; give HOST:PORT, such as 127.0.0.1:9464",
            "snapshot_seconds (--snapshot-seconds): got nan, 0.1 to 60 is allowed",
        ]
    )


def test_a_file_that_is_missing_or_not_toml_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        load({"config": str(tmp_path / "none.toml")}, {}, tmp_path)
    assert len(caught.value.problems) == 1
    assert "is not TOML" in problems(tmp_path, "partitions = = 3")[0]


def test_the_printed_settings_read_back_equal_and_name_their_origin(tmp_path: Path) -> None:
    found = loaded(tmp_path, '[[watch]]\ndetector = "ADWIN"\nsignal = "loss"\n', {"ANOMALY_PARTITIONS": "3"})
    printed = found.shown()
    assert "partitions = 3  # ANOMALY_PARTITIONS" in printed
    assert "snapshot_seconds = 1.0  # default" in printed
    assert loaded(tmp_path, printed).settings == found.settings


def test_a_secret_shows_neither_in_the_printed_settings_nor_in_a_problem() -> None:
    row = Row("password", str, "", "a password", not_empty, secret=True, flag=False)
    assert row.shown("hunter2") == f'"{MASKED}"'
    assert row.shown("") == '""'
    number = Row("pin", int, 0, "a pin", None, secret=True, flag=False)
    assert "hunter2" not in str(number.problem("hunter2"))


def test_foreign_variables_with_our_prefix_are_passed_over(tmp_path: Path) -> None:
    assert load({}, {"ANOMALY_WORKER_SERVICE_HOST": "10.0.0.1"}, tmp_path).settings == Settings()
