"""A receiver's secrets: from the file its table names, or from the environment."""

from __future__ import annotations

from anomaly.connection import Secret
from anomaly.credentials import read_secret
from anomaly.errors import SettingsError
from anomaly.notify.delivery import DeliveryError
from anomaly.settings_receivers import ReceiverSpec


def secret_of(spec: ReceiverSpec, field: str) -> Secret:
    """The secret `field` now; empty where there is none. A file is read anew, so that a new one needs no restart.

    Raises `SettingsError`, which names the file and not what it holds.
    """
    path = getattr(spec, f"{field}_file")
    if path:
        return read_secret(f"receivers: {spec.name}: {field}_file", path)
    return Secret(getattr(spec, field))


def secret_now(spec: ReceiverSpec, field: str) -> Secret:
    """The same while delivering. Raises `DeliveryError`: whoever replaces a file may be done a moment later."""
    try:
        return secret_of(spec, field)
    except SettingsError as error:
        raise DeliveryError(str(error), retriable=True) from None
