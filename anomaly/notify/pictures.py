"""Pictures for pages: the evidence read again and drawn, on a thread of its own, within seconds or not at all."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from anomaly.connection import Connection
from anomaly.errors import AnomalyError
from anomaly.incidents import Transition
from anomaly.notify.evidence import FOR_A_PAGE, Budget, EvidenceMissingError, read_evidence
from anomaly.notify.picture import draw
from anomaly.reading import SMALL_FETCH, TopicReader
from anomaly.records import Layout

PAGE_SECONDS = 2.0
"""A page waits no longer for its picture; the budget of reading leaves the rest to drawing."""

LAYOUTS = 64
"""Remembered from page to page: runs of one model share theirs, and in a storm that is most of the reading."""

log = logging.getLogger(__name__)


class Pictures:
    """Draws one picture at a time. `of` is what a notifier awaits; it raises nothing and takes as long as it may.

    A page that comes while another's picture is drawn waits for that within its own time, and goes without otherwise.
    """

    def __init__(
        self,
        connection: Connection,
        telemetry: str,
        budget: Budget = FOR_A_PAGE,
        seconds: float = PAGE_SECONDS,
    ) -> None:
        self._connection, self._telemetry = connection, telemetry
        self._budget, self._seconds = budget, seconds
        self._layouts: dict[bytes, Layout] = {}
        self._thread = ThreadPoolExecutor(1, "pictures")

    async def of(self, transition: Transition) -> bytes | None:
        """The picture as PNG; None where there is none, or not in time."""
        making = asyncio.get_running_loop().run_in_executor(self._thread, self._made, transition)
        try:
            async with asyncio.timeout(self._seconds):
                return await making
        except TimeoutError:
            log.info("incident %s: no picture within %g s", transition.incident, self._seconds)
        except EvidenceMissingError as error:
            log.info("incident %s: no picture: %s", transition.incident, error)
        except AnomalyError as error:
            log.warning("incident %s: no picture: %s", transition.incident, error)
        except Exception:  # a page without a picture is a page
            log.exception("incident %s: no picture", transition.incident)
        return None

    def close(self) -> None:
        """Begin no other picture."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _made(self, transition: Transition) -> bytes:
        """Reads and draws in a loop of its own: the notifier's serves its receivers meanwhile."""
        if len(self._layouts) > LAYOUTS:
            self._layouts.clear()
        making = picture_of(self._connection, self._telemetry, transition, self._budget, self._layouts)
        return asyncio.run(making)


async def picture_of(
    connection: Connection,
    telemetry: str,
    transition: Transition,
    budget: Budget,
    layouts: dict[bytes, Layout] | None = None,
) -> bytes:
    """The evidence of an incident as PNG.

    Raises `EvidenceMissingError` where there is nothing to show, and as `TopicReader` does.
    """
    async with TopicReader(connection, SMALL_FETCH) as reader:
        window = await read_evidence(reader, telemetry, transition, budget, layouts)
    return draw(transition, window)
