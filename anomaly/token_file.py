"""OAUTHBEARER with a token that something else keeps fresh in a file (a Kubernetes volume, a Vault agent)."""

from __future__ import annotations

from aiokafka.abc import AbstractTokenProvider

from anomaly.connection import Secret
from anomaly.credentials import read_secret


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """Reads the file whenever a connection logs in.

    aiokafka does not log in again on an open connection: where the broker ends it with the token (Kafka's
    ``connections.max.reauth.ms``), the connection that replaces it takes the new one.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def token(self) -> Secret:
        """The token in the file now. Raises `SettingsError`."""
        return read_secret("sasl_token_file", self._path)
