"""``anomaly notify --test RECEIVER``: a page that says it is a test, sent once, and what came back. No Kafka."""

from __future__ import annotations

import asyncio
import sys
import time

from anomaly.errors import SettingsError
from anomaly.escapes import shown
from anomaly.exit_codes import ExitCode
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify import compose
from anomaly.notify.delivery import DeliveryError
from anomaly.notify.links import links_of
from anomaly.notify.service import mailboxes
from anomaly.settings import Settings
from anomaly.settings_tables import nearest


def run(settings: Settings, name: str) -> int:
    """Send it; return the exit code: 0 where the receiver took it, 2 where it did not.

    Raises `SettingsError` for a receiver that is none, or cannot be made.
    """
    names = [spec.name for spec in settings.receiver_specs]
    if name not in names:
        there_are = (
            f"there are {', '.join(names)}" if names else "there is no [[receivers]] table in anomaly.toml"
        )
        raise SettingsError(
            [f"--test: got {shown(name)!r}, which is no receiver; {nearest(name, names, there_are)}"]
        )
    return asyncio.run(_send(settings, name))


async def _send(settings: Settings, name: str) -> int:
    now = time.time()
    links = links_of(settings)
    delivery = compose.trial(name, _sample(now), f"test-{name}-{int(now)}", links)
    async with mailboxes(settings) as found:
        began = time.monotonic()
        try:
            receipt = await found[name].receiver.deliver(delivery)
        except DeliveryError as error:
            again = "; trying again may help" if error.retriable else ""
            sys.stderr.write(f"anomaly: receiver {name} did not take the test page: {error}{again}\n")
            return ExitCode.REFUSED
        took = f"in {time.monotonic() - began:.2f} s"
        what = f", and calls it {shown(receipt)}" if receipt else ""
        sys.stderr.write(f"receiver {name} took the test page {delivery.key} {took}{what}\n")
    return ExitCode.STOPPED


def _sample(now: float) -> Transition:
    """An incident of a run that is none."""
    return Transition(
        incident="0" * 16, transition=0, status=Status.OPENED, run="test", attempt=0, kind="nonfinite_gradient",
        severity=Severity.WARNING, step=0, first_step=0, last_good_step=None, last_checkpoint_step=None, layer=None,
        layers=(), ranks=(), statistic="test", value=0.0, expected=None, score=0.0, detector="test", evidence=(),
        summary="This is a test; nobody needs to act.", advice="", runbook="", source=None, opened_unix_seconds=now,
        updated_unix_seconds=now,
    )  # fmt: skip
