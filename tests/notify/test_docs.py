"""What docs/notify.md shows is what the settings take, the page included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomaly.notify.links import Links
from anomaly.notify.page import page_of, text_of
from anomaly.settings import Settings
from anomaly.settings_receivers import TYPES
from anomaly.settings_sources import load
from tests.notify.pages import nan_gradient
from tests.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "notify.md").read_text("utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
RUNBOOKS = "https://github.com/lab/training-anomaly/blob/main/docs/runbooks"


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "anomaly.toml").write_text(text)
    return load({}, {}, folder).settings


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: re.findall(r'type = "(\w+)"', text)[0])
def test_every_example_is_taken_as_it_stands_and_with_its_comments_in_force(
    tmp_path: Path, text: str
) -> None:
    assert settings_of(tmp_path, text).receiver_specs
    uncommented = re.sub(r"^# ", "", text, flags=re.MULTILINE)
    assert settings_of(tmp_path, uncommented).receiver_specs


def test_there_is_an_example_of_every_type_of_receiver(tmp_path: Path) -> None:
    shown = {spec.type for text in EXAMPLES for spec in settings_of(tmp_path, text).receiver_specs}
    assert shown == set(TYPES)


def test_the_first_example_has_routes_too(tmp_path: Path) -> None:
    assert len(settings_of(tmp_path, EXAMPLES[0]).route_specs) == 2


def test_the_page_shown_is_the_page_that_is_sent() -> None:
    tags = {"owner": "ana@lab.org", "team": "nlp", "dashboard": "https://wandb.ai/lab/gpt/runs/7b"}
    page = page_of(nan_gradient(tags=tags), Links("https://grafana.lab.org", RUNBOOKS))
    assert f"```\n{text_of(page)}```" in PAGE


def test_what_the_page_links_to_in_the_repository_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (REPOSITORY / "docs" / target).resolve().exists(), target
