"""[[receivers]] and [[routes]]: what is wrong is said with what to do, and no secret is ever shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomaly.cli import main
from anomaly.connection import MASKED, Secret
from anomaly.errors import SettingsError
from anomaly.notify.secret_files import secret_of
from anomaly.settings import Settings
from anomaly.settings_receivers import EmailSpec, PagerDutySpec
from anomaly.settings_routes import parsed_hours
from anomaly.settings_sources import load

GOOD = """\
grafana_url = "https://grafana.lab.org"

[[receivers]]
name = "on-call"
type = "pagerduty"
fallback = "mail"

[[receivers]]
name = "mail"
type = "email"
host = "smtp.lab.org"
from = "anomaly@lab.org"
to = ["oncall@lab.org", "{owner}"]
owner_domains = ["lab.org"]

[[routes]]
receivers = ["on-call"]
severity = ["critical"]
kind = ["nonfinite_*"]
tags = { priority = "high" }
hours = "Mon-Fri 08:00-18:00 Europe/Berlin"
"""
ENVIRONMENT = {"ANOMALY_RECEIVER_ON_CALL_ROUTING_KEY": "hunter2"}


def settings(folder: Path, toml: str, environment: dict[str, str] | None = None) -> Settings:
    (folder / "anomaly.toml").write_text(toml)
    return load({}, environment or {}, folder).settings


def problems(folder: Path, toml: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(folder, toml, environment)
    return [problem.replace(f" ({folder / 'anomaly.toml'})", "") for problem in caught.value.problems]


def receiver(kind: str, more: str = "") -> str:
    return f'[[receivers]]\nname = "a"\ntype = "{kind}"\n{more}\n'


def route(more: str) -> str:
    return receiver("webhook", 'url = "https://x.org"\nsecret_file = "s"') + f"[[routes]]\n{more}\n"


def test_tables_become_specs_with_the_secret_of_the_environment(tmp_path: Path) -> None:
    found = settings(tmp_path, GOOD, ENVIRONMENT)
    page, mail = found.receiver_specs
    assert isinstance(page, PagerDutySpec)
    assert isinstance(mail, EmailSpec)
    assert secret_of(page, "routing_key") == "hunter2"
    assert (page.fallback, page.deadline_seconds, page.pages_per_minute) == ("mail", 300.0, 5)
    assert (mail.sender, mail.to, mail.port) == ("anomaly@lab.org", ("oncall@lab.org", "{owner}"), 587)
    (only,) = found.route_specs
    assert only.tags == {"priority": "high"}
    assert only.run == ("*",)


def test_a_secret_in_a_file_is_read_anew_each_time_and_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    (page,) = settings(tmp_path, receiver("pagerduty", f'routing_key_file = "{file}"')).receiver_specs
    assert secret_of(page, "routing_key") == "first"
    file.write_text("second\n")
    assert secret_of(page, "routing_key") == "second"
    file.unlink()
    with pytest.raises(SettingsError, match=r"receivers: a: routing_key_file: .*key cannot be read"):
        secret_of(page, "routing_key")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_secret_is_shown_by_config_or_by_repr(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "anomaly.toml").write_text(GOOD)
    monkeypatch.setenv(*next(iter(ENVIRONMENT.items())))
    assert main(["config", "--config", str(tmp_path / "anomaly.toml"), *flags]) == 0
    shown = capsys.readouterr().out
    assert MASKED in shown
    assert "smtp.lab.org" in shown
    found = settings(tmp_path, GOOD, ENVIRONMENT)
    assert "hunter2" not in shown + repr(found) + repr(found.receiver_specs)
    if flags:
        assert json.loads(shown)["receivers"]["value"][0]["routing_key"] == MASKED


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        (receiver("pager"), "receivers: a: type: got 'pager'; give one of alertmanager, pagerduty, slack"),
        ('[[receivers]]\nname = "a"\n', "receivers: a: type: is missing; give one of alertmanager"),
        ("receivers = [3]", "receivers: number 1: must be a table; write it as [[receivers]]"),
        (receiver("alertmanager", "url = ['http://x']"), "receivers: a: url: is no key of this table; did you mean urls?"),
        (receiver("alertmanager"), "receivers: a: urls: is missing; give it"),
        (receiver("alertmanager", "urls = 'http://x'"), 'receivers: a: urls: got text, a list of texts is needed; write ["…"]'),
        (receiver("alertmanager", "urls = ['http://u:p4ss@x']"), "receivers: a: urls: got a name or password in 'http://…@x'"),
        (receiver("alertmanager", "urls = ['x:9093']"), "receivers: a: urls: got 'x:9093'; give http://HOST:PORT/… or"),
        (receiver("alertmanager", "urls = ['http://x']\nusername = 'u'"), "receivers: a: password_file: is missing; a login"),
        (receiver("pagerduty"), "receivers: a: routing_key: is missing; give routing_key_file, or ANOMALY_RECEIVER_A_ROUTING_KEY"),
        (receiver("pagerduty", "routing_key = 'hunter2'"), "receivers: a: routing_key: is a secret, which a settings file would show"),
        (receiver("slack", "token_file = 't'\nchannel = 'c'\nurl = 'http://slack.com'"), "which would send the secret as it is; give https://"),
        (receiver("slack", "token_file = 't'\nchannel = 'c'\ndeadline_seconds = 0"), "deadline_seconds: got 0, 1 to 86400 is allowed"),
        (receiver("slack", "token_file = 't'\nchannel = 'c'\nfallback = 'b'"), "fallback: got 'b', which is no other receiver; there is no other"),
        (receiver("slack", "token_file = 't'\nchannel = 'c'\nfallback = 'a'"), "fallback: got 'a', which is no other receiver"),
        (receiver("email", "host = 'h'\nfrom = 'a@b'\nto = ['{owner}']"), "receivers: a: owner_domains: is needed with {owner}"),
        (receiver("email", "host = 'h'\nfrom = 'a@b'\nto = ['c']"), "receivers: a: to: got 'c'; give an address such as"),
        (receiver("email", "host = 'h'\nfrom = 'a@b'\nto = ['a@b']\nsecurity = 'ssl'"), "got 'ssl'; give one of starttls, tls, none"),
        ('[[receivers]]\nname = "On Call"\ntype = "slack"', "receivers: On Call: name: got 'On Call'; up to 40 small letters"),
        (receiver("slack") * 2, "receivers: a: is the name of 2 receivers; give each its own"),
        ('[receivers]\nrouting_key = "hunter2"', "receivers: got a table, a list of tables is needed; write [[receivers]]"),
        (route("receivers = ['b']"), "routes: number 1: receivers: got 'b', which is no receiver; there are a"),
        (route("severity = ['critical']"), "routes: number 1: receivers: is missing; give it"),
        (route("receivers = ['a']\nsevrity = ['critical']"), "routes: number 1: sevrity: is no key of this table; did you mean severity?"),
        (route("receivers = ['a']\nseverity = ['info']"), "severity: got 'info'; info is never sent; give warning, critical or both"),
        (route("receivers = ['a']\nkind = ['nonfinit_loss']"), "did you mean nonfinite_loss?"),
        (route("receivers = ['a']\nhours = 'always'"), "hours: got 'always'; give days, a time span and a zone"),
        (route("receivers = ['a']\nhours = 'Mon-Fri 08:00-18:00 Europe/Berln'"), "did you mean Europe/Berlin?"),
        (route("receivers = ['a']\nhours = 'Mon-Fri 08:00-24:30 UTC'"), "got '24:30' as a time; 00:00 to 24:00 is allowed"),
        (route("receivers = ['a']\nhours = 'Mo-Fr 08:00-18:00 UTC'"), "got 'Mo-Fr' as days; give Mon, Tue"),
        (route("receivers = ['a']\ntags = { high = 3 }"), "tags: got a table, a table of texts is needed"),
        (route("receivers = []"), "receivers: got an empty list; leave the key out"),
        ("[[routes]]\nreceivers = ['a']", "routes: number 1: receivers: got 'a', which is no receiver; there is no [[receivers]]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(toml: str, problem: str, tmp_path: Path) -> None:
    found = problems(tmp_path, toml)
    assert [one for one in found if problem in one], found
    assert "hunter2" not in "".join(found)
    assert "p4ss" not in "".join(found)


def test_all_problems_of_all_tables_come_together(tmp_path: Path) -> None:
    toml = receiver("slack", "chanel = 'c'") + '[[receivers]]\nname = "b"\ntype = "slack"\nport = 3\n'
    found = problems(tmp_path, toml)
    assert len([one for one in found if one.startswith("receivers: a: ")]) == 3
    assert len([one for one in found if one.startswith("receivers: b: ")]) == 3


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    toml = receiver("pagerduty", "routing_key_file = 'f'")
    found = problems(tmp_path, toml, {"ANOMALY_RECEIVER_A_ROUTING_KEY": "hunter2"})
    assert found == [
        "receivers: a: routing_key: is given twice; give either routing_key_file or ANOMALY_RECEIVER_A_ROUTING_KEY"
    ]


def test_hours_over_midnight_belong_to_the_day_they_begin() -> None:
    night = parsed_hours("Sun,Fri 18:00-08:00 UTC")
    assert night.contain(4, 18 * 60)
    assert not night.contain(4, 18 * 60 - 1)
    assert night.contain(5, 8 * 60 - 1)
    assert not night.contain(5, 8 * 60)
    assert night.contain(0, 0)
    assert parsed_hours("Sat-Mon 00:00-24:00 UTC").days == {5, 6, 0}


def test_a_secret_made_by_hand_hides_itself() -> None:
    assert "hunter2" not in repr({"routing_key": Secret("hunter2")})
