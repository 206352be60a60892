from __future__ import annotations

import math
import string
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.incidents import KINDS
from anomaly.incidents.transition import Severity, Source, Status, Transition, decode_transition
from anomaly.notify.delivery import Event
from anomaly.notify.links import WINDOW_SECONDS, Links
from anomaly.notify.page import RUNS_LISTED, page_of, storm_page, test_page, text_of
from tests.notify.pages import HOSTILE, OPENED, nan_gradient, resolved, silent_runs

LINKS = Links("https://grafana.lab.example/", "https://runbooks.lab.example/anomaly/")
PHONE_CHARACTERS = 1500


def test_the_first_line_says_which_run_what_where_and_since_when() -> None:
    page = page_of(nan_gradient(ranks=()), LINKS)
    assert page.title == "[critical] gpt-7b-ablation: NaN gradient in layers.17.attn since step 41,203"


def test_the_page_says_the_value_its_expectation_and_what_to_go_back_to() -> None:
    facts = dict(page_of(nan_gradient(), LINKS).facts)
    assert facts["value"] == "gradient norm NaN, expected about 0.4123"
    assert facts["first bad step"] == "41,203"
    assert facts["last good step"] == "41,202"
    assert facts["go back to"] == "checkpoint 41,000, the newest before it began"
    assert facts["ranks"] == "3"
    assert facts["restart?"] == "no: none lately"
    assert facts["whose"] == "ana@lab.example, nlp"


@pytest.mark.parametrize(
    ("good", "checkpoint", "advice"),
    [
        (41_202, 41_000, "checkpoint 41,000, the newest before it began"),
        (41_202, None, "the newest checkpoint at or before step 41,202 (the run reports none)"),
        (None, None, "a checkpoint from before step 41,203; no step is known to be good"),
        (0, 0, "checkpoint 0, the newest before it began"),
        (41_210, None, "a checkpoint from before step 41,203; no step is known to be good"),
        (41_210, 41_205, "a checkpoint from before step 41,203; no step is known to be good"),
    ],
)
def test_the_checkpoint_advised_is_the_safest_that_is_known(
    good: int | None, checkpoint: int | None, advice: str
) -> None:
    one = nan_gradient(last_good_step=good, last_checkpoint_step=checkpoint)
    assert dict(page_of(one, LINKS).facts)["go back to"] == advice


def test_a_page_fits_a_phone_also_with_the_longest_of_everything() -> None:
    long = nan_gradient(
        run="r" * 200,
        layer="l" * 200,
        layers=tuple(f"{number}" * 200 for number in range(8)),
        ranks=tuple(range(16_384)),
        tags=dict.fromkeys(("owner", "team", "project"), "t" * 500),
        advice="a" * 5000,
    )
    page = page_of(long, Links())
    assert len(page.title) < 300
    assert dict(page.facts)["ranks"] == "0, 1, 2, 3, 4, 5, 6, 7 and 16,376 more"
    assert len(text_of(page_of(nan_gradient(), LINKS))) < PHONE_CHARACTERS
    assert len(text_of(page)) < 2 * PHONE_CHARACTERS


def test_grafana_opens_the_run_half_an_hour_before_the_incident() -> None:
    link = dict(page_of(nan_gradient(run="a/b&c d"), LINKS).links)["Grafana"]
    query = parse_qs(urlsplit(link).query)
    assert link.startswith("https://grafana.lab.example/d/")
    assert query == {"var-run": ["a/b&c d"], "from": [str(int((OPENED - 1800) * 1000))], "to": ["now"]}
    over = parse_qs(urlsplit(dict(page_of(resolved(), LINKS, Event.RESOLVE).links)["Grafana"]).query)
    assert over["to"] == [str(int((OPENED + 793 + WINDOW_SECONDS) * 1000))]


def test_the_runbook_is_the_web_page_where_there_is_one_and_else_its_path() -> None:
    assert dict(page_of(nan_gradient(), LINKS).links)["Runbook"] == (
        "https://runbooks.lab.example/anomaly/nonfinite_gradient.md"
    )
    assert dict(page_of(nan_gradient(), Links()).links)["Runbook"] == "docs/runbooks/nonfinite_gradient.md"


@pytest.mark.parametrize(
    "path", ["https://evil.example/", "docs/runbooks/../../x.md", "docs/runbooks/a.md\n"]
)
def test_a_runbook_that_is_none_of_ours_is_no_link(path: str) -> None:
    assert "Runbook" not in dict(page_of(nan_gradient(kind="of_a_later_version", runbook=path), LINKS).links)


def test_the_runbook_is_found_for_incidents_of_older_and_of_later_workers() -> None:
    older = nan_gradient(runbook="docs/kinds.md#nonfinite_gradient")
    later = nan_gradient(kind="of_a_later_version", runbook="docs/runbooks/of_a_later_version.md")
    assert dict(page_of(older, LINKS).links)["Runbook"].endswith("/nonfinite_gradient.md")
    assert dict(page_of(later, LINKS).links)["Runbook"].endswith("/of_a_later_version.md")


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("https://wandb.example/lab/x?y=1", True),
        ("javascript:alert(1)", False),
        ("https://user:password@wandb.example/", False),
        ("https://wandb.example/ <!channel>", False),
        ("https://[wandb", False),
        ("https://wandb.example/" + "x" * 2000, False),
        ("http://wandb.example/\u202e", False),
    ],
)
def test_only_a_plain_web_address_of_the_runs_tags_becomes_a_link_named_after_its_host(
    tag: str, shown: bool
) -> None:
    links = page_of(nan_gradient(tags={"dashboard": tag}), LINKS).links
    assert (("The run's dashboard (wandb.example)", tag) in links) == shown
    assert any("dashboard" in name for name, _ in links) == shown


def test_what_was_so_from_the_first_step_has_nothing_to_go_back_to() -> None:
    flat = nan_gradient(kind="flat_from_start", first_step=0, last_good_step=None, last_checkpoint_step=None)
    assert dict(page_of(flat, LINKS).facts)["go back to"] == "nothing: it was so from the start"


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("straggler", {"layer": None, "ranks": (4,)}, "Slow steps on rank 4 since"),
        ("bad_batch", {"layer": "conv.0", "ranks": (2,)}, "Bad batch in conv.0 on rank 2 since"),
        ("layer_gradient_spike", {"layer": "h.0.ln1", "ranks": ()}, "Lone gradient spike in h.0.ln1 since"),
        ("partial_telemetry", {"layer": None, "ranks": (0, 1)}, "No more telemetry on 2 ranks since"),
    ],
)
def test_a_kind_of_one_place_is_not_said_twice(kind: str, changed: dict[str, object], said: str) -> None:
    assert f": {said}" in page_of(nan_gradient(kind=kind, **changed), LINKS).title


def test_an_escalation_says_what_it_was_before() -> None:
    page = page_of(nan_gradient(), LINKS, Event.ESCALATE, Severity.WARNING)
    assert dict(page.facts)["was"] == "warning, now critical"


def test_a_resolved_page_says_how_long_it_lasted_and_what_to_go_back_to_if_need_be() -> None:
    page = page_of(resolved(), LINKS, Event.RESOLVE)
    facts = dict(page.facts)
    assert page.title.startswith("[resolved] gpt-7b-ablation: NaN gradient")
    assert facts["lasted"] == "13 min 13 s"
    assert "checkpoint 41,000" in facts["if the loss is not back"]
    assert dict(page_of(nan_gradient(), LINKS, Event.RESOLVE, by="ana").facts)["now"] == "resolved by ana"


def test_a_run_that_went_silent_is_told_no_checkpoint() -> None:
    text = text_of(page_of(silent_runs(1)[0], LINKS))
    assert "value: no record for 5 min 12 s, usually every 2.1 s" in text
    assert "go back" not in text


def test_a_storm_is_one_page_that_lists_the_worst_runs_and_counts_the_rest() -> None:
    warning = nan_gradient(incident="f" * 16, run="quiet", severity=Severity.WARNING)
    page = storm_page([warning, *silent_runs(400)], LINKS)
    assert page.title == "[critical] 401 incidents in 401 runs: Run went silent and others"
    assert len(page.runs) == RUNS_LISTED + 1
    assert page.runs[0] == "critical: sweep-000: Run went silent"
    assert page.runs[-1] == "and 381 more"
    assert dict(page.links) == {"Grafana": "https://grafana.lab.example/d/anomaly-fleet"}


def test_a_storm_says_which_of_its_incidents_are_over() -> None:
    members = silent_runs(3)
    page = storm_page(members, LINKS, Event.UPDATE, ended=[members[0].incident])
    assert dict(page.facts)["over"] == "1 of 3"
    assert page.runs[-1] == "resolved: sweep-000: Run went silent"
    assert storm_page(members, LINKS, Event.RESOLVE).title.startswith("[resolved] 3 incidents in 3 runs")


def test_a_test_page_says_that_it_is_one() -> None:
    page = test_page("on-call", LINKS)
    assert page.title.startswith("[test] ")
    assert "nobody needs to act" in page.title


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_makes_a_page_with_its_runbook(kind: str) -> None:
    page = page_of(nan_gradient(kind=kind, value=1.0, layer=None, ranks=()), LINKS)
    assert KINDS[kind].title in page.title
    assert dict(page.links)["Runbook"].endswith(f"/{kind}.md")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_leave_a_page_printable_and_on_its_lines(name: str) -> None:
    one = nan_gradient(
        run=name, layer=name, layers=(name, name), kind=name, statistic=name, tags={"owner": name}
    )
    for page in (
        page_of(one, LINKS),
        page_of(one, LINKS, Event.RESOLVE, by=name),
        storm_page([one, one], LINKS),
    ):
        texts = [page.title, page.advice, *page.runs, *(text for fact in page.facts for text in fact)]
        assert all(text.isprintable() for text in texts)
        assert all(set(url) <= set(string.printable[:94]) for _, url in page.links)


any_number = st.one_of(st.floats(), st.integers(-(2**63), 2**63))


@given(
    transition=st.builds(
        Transition,
        incident=st.text(max_size=30), transition=st.integers(), status=st.sampled_from(Status),
        run=st.text(max_size=250), attempt=st.integers(), kind=st.text(max_size=50),
        severity=st.sampled_from(Severity), step=any_number, first_step=any_number,
        last_good_step=st.none() | any_number, last_checkpoint_step=st.none() | any_number,
        layer=st.none() | st.text(), layers=st.tuples(st.text(), st.text()), ranks=st.tuples(st.integers()),
        statistic=st.sampled_from(["loss", "silent_seconds", "peak_memory_bytes", "x"]) | st.text(), value=st.floats(),
        expected=st.none() | st.floats(), score=st.floats(), detector=st.text(), evidence=st.just(()),
        summary=st.text(), advice=st.text(), runbook=st.text(), source=st.just(Source(0, 0)),
        opened_unix_seconds=st.none() | st.floats(), updated_unix_seconds=st.none() | st.floats(),
        tags=st.none() | st.dictionaries(st.sampled_from(["owner", "team", "dashboard"]), st.text()),
    ),
    event=st.sampled_from(Event),
)  # fmt: skip
def test_whatever_the_topic_holds_makes_a_page(transition: Transition, event: Event) -> None:
    for page in (page_of(transition, LINKS, event, Severity.WARNING), storm_page([transition], LINKS, event)):
        assert page.title.isprintable()
        assert text_of(page)


def test_a_name_that_no_text_can_hold_is_refused_before_it_reaches_a_page() -> None:
    payload = nan_gradient(run="RUN", value=1.0).encode()
    assert decode_transition(payload.replace(b"RUN", b"\\ud83d\\ude00")).run == "😀"
    with pytest.raises(msgspec.ValidationError, match="surrogate"):
        decode_transition(payload.replace(b"RUN", b"\\ud800"))


def test_a_number_that_is_not_finite_is_called_what_it_is() -> None:
    assert "Infinite loss" in page_of(nan_gradient(kind="nonfinite_loss", value=math.inf), LINKS).title
    assert "Non-finite loss" in page_of(nan_gradient(kind="nonfinite_loss", value=3.0), LINKS).title
