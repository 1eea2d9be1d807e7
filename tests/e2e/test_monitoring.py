"""A real Prometheus scrapes the real stack.

Every query of every panel and rule finds data; no metric goes unseen.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from openai import OpenAI

from imgedit import SyncEditClient
from imgedit.errors import ImgeditError
from imgedit.local.ports import Ports
from imgedit.local.services import OPENAI_API, SERVICES
from tests.e2e.conftest import RunningStack

ROOT = Path(__file__).parents[2]
RULES_TEXT = (ROOT / "deploy/prometheus/rules.yaml").read_text(encoding="utf-8")
RULES = yaml.safe_load(RULES_TEXT)
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))


def expressions() -> dict[str, str]:
    """Every query of every panel, by where it stands."""
    found = {}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                found[f"{path.stem}: {panel['title']}: {target['refId']}"] = target["expr"]
    return found


def rules(kind: str) -> dict[str, str]:
    """The expressions of all recording rules or alerts, by name."""
    return {rule[kind]: rule["expr"] for group in RULES["groups"] for rule in group["rules"] if kind in rule}


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A Prometheus that has watched the stack for a while, under load."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: make system-deps")
    folder = tmp_path_factory.mktemp("prometheus")
    ports = {
        f"imgedit-{name.replace('_', '-')}": stack.ports.metrics_port(name)
        for name in (*SERVICES, OPENAI_API.name, "edge")
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in ports.items()
        ],
    }
    # The shipped rules, judged every second.
    (folder / "rules.yaml").write_text(RULES_TEXT.replace("interval: 15s", "interval: 1s"))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = Ports.free().base
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client:
            wait_until_scraped(client, len(ports))
            load(stack)
            wait_until_recorded(client)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def wait_until_scraped(client: httpx2.Client, jobs: int) -> None:
    for _ in range(300):
        with suppress(httpx2.TransportError):
            answer = client.get("/query", params={"query": 'up{job=~"imgedit-.*"} == 1'})
            if answer.status_code == 200 and len(answer.json()["data"]["result"]) == jobs:
                return
        time.sleep(0.2)
    raise AssertionError("not all services are scraped")


def wait_until_recorded(client: httpx2.Client) -> None:
    """Until everything has the samples that rates and trends need.

    After a minute the tests say what has not.
    """
    needed = [*(f"count_over_time({name}[1m]) >= 2" for name in rules("record")), *expressions().values()]
    for _ in range(300):
        needed = [query for query in needed if not results(client, query)]
        if not needed:
            return
        time.sleep(0.2)


def load(stack: RunningStack) -> None:
    """Edits of every kind through the edge, some with faults."""
    with SyncEditClient(f"127.0.0.1:{stack.ports.gateway}") as client:
        for seed in (1, 2):
            for experiment in ("ben2_flux_fill", "ben2_qwen_image"):
                client.edit(stack.photo, experiment=experiment, prompt="a gym", steps=10, seed=seed)
        client.edit(stack.photo, experiment="ben2_flux_fill", prompt="배경을 현대적인 체육관으로 변경", steps=10)
        with OpenAI(base_url=f"http://127.0.0.1:{stack.ports.gateway}/v1", api_key="none") as sdk:
            for stream in (False, True):
                answer = sdk.images.edit(
                    image=("photo.jpg", stack.photo.read_bytes()),
                    prompt="a gym",
                    stream=stream,
                    extra_body={"steps": 10, "seed": 1},
                )
                if stream:
                    list(answer)
        for steps in (9, 51):
            with suppress(ImgeditError):
                client.edit(stack.photo, experiment="ben2_flux_fill", prompt="a gym", steps=steps)


def results(client: httpx2.Client, expression: str) -> list[dict[str, Any]]:
    query = expression.replace("$__rate_interval", "2m")
    answer = client.get("/query", params={"query": query})
    assert answer.status_code == 200, f"{query}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def test_every_query_of_every_panel_finds_data(prometheus: httpx2.Client) -> None:
    empty = [where for where, expression in expressions().items() if not results(prometheus, expression)]
    assert not empty


def test_every_recording_rule_records(prometheus: httpx2.Client) -> None:
    empty = [name for name in rules("record") if not results(prometheus, name)]
    assert not empty


def test_every_alert_asks_for_series_that_exist(prometheus: httpx2.Client) -> None:
    """An alert is silent in a healthy stack.

    Without its comparisons it must find something.
    """
    for alert, expression in rules("alert").items():
        for selector in set(re.findall(r"(?:imgedit|envoy)[a-z_:0-9]*(?:\{[^}]*\})?|up\{[^}]*\}", expression)):
            bare = re.sub(r'outcome=~"[^"]*"', 'outcome!=""', selector)
            assert results(prometheus, bare), f"{alert}: {selector}"
    firing = prometheus.get("/alerts").json()["data"]["alerts"]
    assert not [alert for alert in firing if alert["labels"]["alertname"] == "ImgeditServiceDown"]


def test_every_metric_is_seen_somewhere(prometheus: httpx2.Client, stack: RunningStack) -> None:
    shown = " ".join([*expressions().values(), *rules("record").values(), *rules("alert").values()])
    exposed = set()
    for name in (*SERVICES, OPENAI_API.name):
        text = httpx2.get(f"http://127.0.0.1:{stack.ports.metrics_port(name)}/metrics").text
        exposed |= set(re.findall(r"^# TYPE (imgedit_\w+) (?:counter|gauge|histogram)", text, re.MULTILINE))
    exposed = {name for name in exposed if not name.endswith("_created")}
    unseen = {name for name in exposed if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", shown)}
    assert not unseen, "show it in a panel"
