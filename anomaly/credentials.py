"""What a client of Kafka takes to connect, encrypt and log in: `kafka_options`.

Files (password, token, certificates) are read whenever a client is made, not once: whoever replaces one need not
restart what makes new clients, as the hook does after every failure.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NoReturn

from anomaly.connection import Connection, Secret
from anomaly.errors import SettingsError


def kafka_options(connection: Connection) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes. Raises `SettingsError` for a file that is no use."""
    options: dict[str, Any] = {"bootstrap_servers": connection.servers}
    if connection.security_protocol != "PLAINTEXT":
        options["security_protocol"] = connection.security_protocol
    if connection.tls:
        options["ssl_context"] = _tls_context(connection)
    return options | (_login(connection) if connection.sasl else {})


def read_secret(setting: str, path: str) -> Secret:
    """The content of a file without the line end that editors add. Raises `SettingsError`, which does not repeat it."""
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise _unreadable(setting, path, error) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{setting}: {path} is not UTF-8 text; correct that file"]) from None
    if not text:
        raise SettingsError([f"{setting}: {path} is empty; write the secret into it"])
    return Secret(text)


def _login(connection: Connection) -> dict[str, Any]:
    options: dict[str, Any] = {"sasl_mechanism": connection.sasl_mechanism}
    if connection.sasl_mechanism == "OAUTHBEARER":
        from anomaly.token_file import TokenFile  # brings aiokafka, which a training script need not wait for

        read_secret("sasl_token_file", connection.sasl_token_file)
        return options | {"sasl_oauth_token_provider": TokenFile(connection.sasl_token_file)}
    password = Secret(connection.sasl_password)
    if connection.sasl_password_file:
        password = read_secret("sasl_password_file", connection.sasl_password_file)
    return options | {"sasl_plain_username": connection.sasl_username, "sasl_plain_password": password}


def _tls_context(connection: Connection) -> ssl.SSLContext:
    """TLS 1.2 or newer that checks the broker's certificate and host name."""
    ca_file = connection.tls_ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise SettingsError(
            [f"tls_ca_file: {ca_file} holds no certificate in PEM; correct that file"]
        ) from None
    except OSError as error:
        raise _unreadable("tls_ca_file", ca_file, error) from None
    if connection.tls_certificate_file:
        _load_own(context, connection.tls_certificate_file, connection.tls_key_file)
    return context


def _load_own(context: ssl.SSLContext, certificate_file: str, key_file: str) -> None:
    for setting, path in (("tls_certificate_file", certificate_file), ("tls_key_file", key_file)):
        try:
            Path(path).read_bytes() if path else None  # OpenSSL's own complaint does not name the file
        except OSError as error:
            raise _unreadable(setting, path, error) from None
    try:
        context.load_cert_chain(certificate_file, key_file or None, password=_no_password)
    except ssl.SSLError as error:
        problem = (
            f"tls_certificate_file: {certificate_file} and its key cannot be used ({error.reason or error}); give a "
            "PEM certificate and the PEM key that belongs to it"
        )
        raise SettingsError([problem]) from None


def _no_password() -> NoReturn:
    """Without this OpenSSL would ask the terminal and wait."""
    raise SettingsError(
        ["tls_key_file: is encrypted; give a key without a password, readable by this user alone"]
    )


def _unreadable(setting: str, path: str, error: OSError) -> SettingsError:
    return SettingsError(
        [f"{setting}: {path} cannot be read ({error.strerror}); correct the path or its mode"]
    )
