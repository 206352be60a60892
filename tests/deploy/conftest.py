"""What several of these tests start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import available
from tests.deploy.office import Office, recorded_config
from tests.install_servers import alertmanager
from tests.monitoring_servers import Alertmanager, RecordingWebhook


@pytest.fixture(scope="module")
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    available(request.config, alertmanager)
    folder = tmp_path_factory.mktemp("office")
    with (
        RecordingWebhook() as webhook,
        Alertmanager(folder, recorded_config(folder, webhook)) as server,
    ):
        yield Office(server, webhook)
