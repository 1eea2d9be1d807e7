"""Files edited by hand name every service of the table with its ports.

The table is `imgedit/local/services.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.envoy.build import cluster_edge, cluster_sidecar
from docs_tools.settings import settings_of
from imgedit.local.ports import MAX_REPLICAS, Ports
from imgedit.local.services import MAX_SERVICES, MODEL_SERVICES, OPENAI_API, ORCHESTRATOR, SERVICES, TABLE, ServiceRow

DEPLOY = Path(__file__).parents[2] / "deploy"
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


def short(row: ServiceRow) -> str:
    return row.image.removeprefix("imgedit-")


def manifests(row: ServiceRow) -> dict[str, Any]:
    """The objects of a service's base manifest, by kind; the last of a kind counts."""
    text = (DEPLOY / "k8s" / "base" / f"{short(row)}.yaml").read_text("utf-8")
    return {found["kind"]: found for found in yaml.safe_load_all(text) if found}


def test_the_table_numbers_its_services() -> None:
    assert len(TABLE) <= MAX_SERVICES
    for place, row in enumerate((ORCHESTRATOR, *MODEL_SERVICES)):
        assert (row.port, row.speaks) == (ORCHESTRATOR.port + place, "grpc")
    places = [row.metrics_port - ORCHESTRATOR.metrics_port for row in TABLE]
    assert len(set(places)) == len(TABLE)
    assert all(0 <= place < MAX_SERVICES for place in places)


def test_no_two_things_of_a_stack_share_a_port_however_many_replicas_there_are() -> None:
    ports = Ports(replicas=dict.fromkeys(SERVICES, MAX_REPLICAS), gateway=8080, studio=8501)
    taken = list(ports.all())
    assert len(taken) == len(set(taken))
    assert max(port for port in taken if port >= ports.base) <= ports.base + 51
    metrics = [ports.metrics_port(name) for service in SERVICES for name in ports.names(service)]
    assert max(metrics) <= ports.metrics_base + 49


@ROWS
def test_a_service_listens_where_the_table_says(row: ServiceRow) -> None:
    fields = settings_of(row.name).model_fields
    assert (fields["port"].default, fields["metrics_port"].default) == (row.port, row.metrics_port)
    assert (fields["folder"].default if "folder" in fields else None) == row.model, "the folder of its checkpoint"


@ROWS
def test_the_manifests_name_every_service_and_its_ports(row: ServiceRow) -> None:
    found = manifests(row)
    assert found["Deployment"]["metadata"]["name"] == row.image
    container = next(
        part for part in found["Deployment"]["spec"]["template"]["spec"]["containers"] if part["image"] == row.image
    )
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (ports[row.speaks], ports["metrics"]) == (row.port, row.metrics_port)


def test_the_orchestrator_may_call_every_model_service_in_a_cluster() -> None:
    text = (DEPLOY / "k8s" / "base" / "orchestrator.yaml").read_text("utf-8")
    policy = next(found for found in yaml.safe_load_all(text) if found and found["kind"] == "NetworkPolicy")
    allowed = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
    assert {row.port for row in MODEL_SERVICES} <= allowed


@ROWS
def test_compose_the_dockerfile_and_prometheus_name_every_service(row: ServiceRow) -> None:
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text("utf-8"))["services"]
    assert compose[short(row)]["image"].partition(":")[0] == row.image
    assert compose[short(row)]["build"]["target"] == short(row)
    assert f" AS {short(row)}\n" in (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text("utf-8"))["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets[row.image] == [f"{short(row)}:{row.metrics_port}"]


def test_envoy_reaches_every_service() -> None:
    text = repr(cluster_sidecar())
    for row in MODEL_SERVICES:
        assert f"'address': '{row.image}', 'port_value': {row.port}" in text
    for row in (ORCHESTRATOR, OPENAI_API):
        assert f"'address': '{row.image}', 'port_value': {row.port}" in repr(cluster_edge())
