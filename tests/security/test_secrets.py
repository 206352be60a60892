"""A secret shows nowhere: not in settings as printed, errors, representations, logs or tracebacks."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from anomaly import Connection, SettingsError, Telemetry
from anomaly.cli import main
from anomaly.connection import MASKED, Secret, connection_from
from anomaly.credentials import kafka_options
from anomaly.settings import CONNECTION, ROWS, Settings
from anomaly.settings_sources import load
from tests.security.certificates import Authority

SECRET = "hunter2-e81f"
LOGIN = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": SECRET}


ENVIRONMENT = {f"ANOMALY_{name.upper()}": text for name, text in LOGIN.items()}


def problems(**options: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Connection(**options)
    return str(caught.value)


def test_the_connection_has_the_same_names_and_defaults_as_the_settings() -> None:
    assert {name: ROWS[name].default for name in CONNECTION} == dataclasses.asdict(Connection())
    assert Settings().connection == Connection()


def test_the_hook_reads_the_same_names_from_the_environment() -> None:
    assert connection_from(ENVIRONMENT) == Connection(**LOGIN)
    assert connection_from(ENVIRONMENT, "b:1").bootstrap_servers == "b:1"
    assert load({}, ENVIRONMENT, Path("/nowhere")).settings.connection == Connection(**LOGIN)


@pytest.mark.parametrize("given", [["--sasl-password", SECRET], [f"--sasl-password={SECRET}"]])
def test_a_password_is_no_flag_because_everyone_can_read_command_lines(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["config", *given])
    shown = capsys.readouterr().err
    assert caught.value.code == 2
    assert "give ANOMALY_SASL_PASSWORD or --sasl-password-file" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("command", [["config"], ["config", "--json"]])
def test_config_shows_that_there_is_a_password_and_not_which(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in ENVIRONMENT.items():
        monkeypatch.setenv(name, text)
    assert main(command) == 0
    shown = capsys.readouterr()
    assert MASKED in shown.out
    assert SECRET not in shown.out + shown.err


def test_no_representation_shows_it() -> None:
    connection = Connection(**LOGIN)
    shown = [
        repr(connection), repr(load({}, ENVIRONMENT, Path("/nowhere"))), repr(kafka_options(connection)),
        repr(dataclasses.asdict(connection)),
        repr({"password": Secret(SECRET)}),
    ]  # fmt: skip
    assert all(SECRET not in text for text in shown)
    assert str(connection.sasl_password) == SECRET


def test_a_traceback_with_local_variables_does_not_show_it() -> None:
    try:
        options = kafka_options(Connection(**LOGIN))
        raise ValueError(options["bootstrap_servers"])
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "sasl_plain_password" in shown
    assert SECRET not in shown


def test_a_worker_with_wrong_settings_does_not_show_it(tmp_path: Path) -> None:
    lines = [f'sasl_password = "{SECRET}"', 'security_protocol = "SASL_SSL"', 'partitions = "x"']
    (tmp_path / "anomaly.toml").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "anomaly", "worker", "--log-level", "debug"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "partitions" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_login_that_is_not_whole_is_refused_with_everything_that_is_wrong() -> None:
    text = problems(bootstrap_servers="kafka", security_protocol="SASL_SSL")
    assert "bootstrap_servers: got 'kafka'" in text
    assert "sasl_username: is needed" in text
    assert "sasl_password: neither is given" in text
    assert "sasl_password: both are given" in problems(**LOGIN, sasl_password_file="/x")
    assert "sasl_token_file: is needed" in problems(
        security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER"
    )
    assert "give one of SCRAM-SHA-512" in problems(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI")
    assert "give one of PLAINTEXT" in problems(security_protocol="sasl_ssl")
    assert SECRET not in problems(**{**LOGIN, "sasl_username": ""})


def test_what_would_silently_go_unused_is_refused() -> None:
    assert "makes no use of sasl_password, sasl_username" in problems(**{**LOGIN, "security_protocol": "SSL"})
    assert "makes no use of tls_ca_file" in problems(tls_ca_file="/x")
    assert "tls_key_file: is the key of no certificate" in problems(
        security_protocol="SSL", tls_key_file="/x"
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER"])
def test_a_secret_that_would_travel_readable_is_refused(mechanism: str) -> None:
    text = problems(**{**LOGIN, "security_protocol": "SASL_PLAINTEXT"}, sasl_mechanism=mechanism)
    assert "does not encrypt it; use SASL_SSL, or SCRAM-SHA-512" in text


def test_files_that_are_no_use_are_told_when_the_hook_is_made(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("one")
    _, other_key = authority.sign("other")
    (tmp_path / "empty").touch()
    ca, login = str(authority.ca), {"security_protocol": "SASL_SSL", "sasl_username": "u"}
    own = {"security_protocol": "SSL", "tls_ca_file": ca, "tls_certificate_file": str(certificate)}
    for says, options in {
        "tls_ca_file: /none cannot be read (No such file": {
            "security_protocol": "SSL",
            "tls_ca_file": "/none",
        },
        "key holds no certificate in PEM": {"security_protocol": "SSL", "tls_ca_file": str(key)},
        "tls_key_file: /none cannot be read": {**own, "tls_key_file": "/none"},
        "and its key cannot be used (KEY_VALUES_MISMATCH)": {**own, "tls_key_file": str(other_key)},
        "sasl_password_file: /none cannot be read": {**login, "sasl_password_file": "/none"},
        "empty is empty; write the secret into it": {**login, "sasl_password_file": str(tmp_path / "empty")},
    }.items():
        with pytest.raises(SettingsError) as caught:
            Telemetry("r1", connection=Connection(**options))
        assert says in str(caught.value)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("one", key_password=SECRET.encode())
    with pytest.raises(SettingsError, match="tls_key_file: is encrypted; give a key without a password"):
        kafka_options(
            Connection(security_protocol="SSL", tls_certificate_file=str(certificate), tls_key_file=str(key))
        )


def test_an_address_beside_a_connection_is_one_too_many() -> None:
    with pytest.raises(SettingsError, match="is in connection too; give one of the two"):
        Telemetry("r1", bootstrap_servers="a:1", connection=Connection("b:1"))


def test_the_printed_settings_are_whole_but_for_the_password() -> None:
    shown = load({}, ENVIRONMENT, Path("/nowhere")).shown()
    assert 'sasl_username = "u"  # ANOMALY_SASL_USERNAME' in shown
    assert json.dumps(MASKED) in shown
