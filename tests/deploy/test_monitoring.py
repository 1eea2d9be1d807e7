"""Rules, alerts and dashboards.

Each alert is tested and has its runbook, each name is one that exists.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from deploy.grafana.dashboards import DASHBOARDS, SLOW_SECONDS
from deploy.prometheus import rules
from services.common.metrics import REQUEST_BUCKETS
from tests.deploy.kubernetes import ROOT
from tests.manual import anchors

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: make system-deps")
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_and_the_configuration_are_valid() -> None:
    promtool("check", "rules", "rules.yaml")
    promtool("check", "config", "prometheus.yaml")


def test_every_alert_fires_where_it_should() -> None:
    promtool("test", "rules", "rules.test.yaml")


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_every_alert_has_a_test_in_which_it_fires(alert: str) -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yaml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", []) if case["alertname"] == alert]
    assert any(case["exp_alerts"] for case in cases)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_a_section_that_says_what_to_do(alert: dict[str, object]) -> None:
    annotations = alert["annotations"]
    assert isinstance(annotations, dict)
    page, _, anchor = annotations["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert re.search("[가-힣]", annotations["summary"]) or "{{" in annotations["summary"]


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")), ids=lambda p: p.stem)
def test_every_panel_has_a_korean_and_an_english_title(path: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    titles = [panel["title"] for panel in document["panels"]] + [document["title"]]
    assert all(re.search("[가-힣]", title) and re.search("[A-Za-z]{2}", title) for title in titles)
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_says_what_it_shows_and_links_to_what_to_do(name: str) -> None:
    document = json.loads((ROOT / "deploy/grafana/dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    sections = anchors(ROOT / "docs" / "operations.md")
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert panels
    for panel in panels:
        assert re.search("[가-힣].* · .*[a-z]", panel["description"]), panel["title"]
        [link] = panel["links"]
        page, _, anchor = link["url"].partition("#")
        assert page.endswith("/docs/operations.md")
        assert anchor in sections, panel["title"]


def test_the_limit_of_slow_edits_is_a_bound_of_the_histogram_and_fits_the_guides_times() -> None:
    assert set(rules.SLOW_SECONDS) == {bound for bound in REQUEST_BUCKETS if bound == int(bound)}
    assert SLOW_SECONDS == rules.limits()["slow_edit_seconds"] > 80


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("slow_edit_seconds", 100, "slow_edit_seconds must be one of .*, 90, 120, .*, is 100"),
        ("slow_edit_ratio", 1.5, "slow_edit_ratio must be above 0 and below 1, is 1.5"),
        ("queue_jobs", 0, "queue_jobs must be above 0, is 0"),
        ("burn", "6", "burn must be a number, is '6'"),
        ("burns", 6, "missing or unknown: burns"),
    ],
)
def test_a_limit_that_cannot_be_is_named(name: str, value: object, said: str) -> None:
    with pytest.raises(rules.LimitError, match=said):
        rules.checked({**rules.limits(), name: value})


def test_every_limit_is_used_and_none_is_written_into_the_rules() -> None:
    made = rules.rules().decode()
    assert "<<" not in made
    for name in rules.limits():
        changed = {other: value for other, value in rules.limits().items() if other != name}
        with pytest.raises(rules.LimitError, match=name):
            rules.checked(changed)
