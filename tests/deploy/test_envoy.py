"""Envoy's configurations.

Valid by themselves and as they are filled in, and in step with the API.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from openapi_spec_validator import validate

from deploy.envoy.build import FOLDER, cluster_sidecar
from imgedit.local import gateway
from imgedit.local.gateway import Address
from imgedit.v1 import edit_pb2
from services.common.interceptors import UNBEGUN

SERVICES = ("segmentation", "fill", "qwen_edit")


def envoy_accepts(config: Path, folder: Path) -> None:
    command = [gateway.command({}, folder / "unused.json")[0], "--mode", "validate", "-c", str(config)]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["edge.yaml", "sidecar.yaml"])
def test_a_shipped_configuration_is_valid_as_it_is(name: str, tmp_path: Path) -> None:
    envoy_accepts(FOLDER / name, tmp_path)


def test_a_filled_in_edge_is_valid_and_listens_where_it_is_told(tmp_path: Path) -> None:
    config = gateway.edge(
        public=Address(18080, "0.0.0.0"),
        metrics=Address(19100),
        admin=Address(19901),
        orchestrators=[Address(50051, "127.0.0.1"), Address(50061, "127.0.0.1")],
    )
    gateway.command(config, tmp_path / "edge.json")
    envoy_accepts(tmp_path / "edge.json", tmp_path)
    written = json.loads((tmp_path / "edge.json").read_text())
    ports = {
        item["name"]: item["address"]["socket_address"]["port_value"]
        for item in written["static_resources"]["listeners"]
    }
    assert ports == {"public": 18080, "metrics": 19100}
    orchestrator = written["static_resources"]["clusters"][0]
    assert len(orchestrator["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2


def test_a_filled_in_sidecar_is_valid_and_forwards_to_every_replica(tmp_path: Path) -> None:
    config = gateway.sidecar(
        listeners={service: Address(15052 + index) for index, service in enumerate(SERVICES)},
        replicas={service: [Address(50052 + index), Address(50062 + index)] for index, service in enumerate(SERVICES)},
        metrics=Address(19110),
        admin=Address(19902),
    )
    gateway.command(config, tmp_path / "sidecar.json")
    envoy_accepts(tmp_path / "sidecar.json", tmp_path)
    clusters = {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}
    for service in SERVICES:
        assert len(clusters[service]["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2


def test_the_sidecar_repeats_no_call_that_a_replica_may_have_begun() -> None:
    config = cluster_sidecar()
    policies = [
        (host["retry_policy"]["retry_on"], [header["name"] for header in host["retry_policy"]["retriable_headers"]])
        for listener in config["static_resources"]["listeners"]
        for host in listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        if listener["name"] != "metrics"
    ]
    # retriable-headers: the header of a replica that never began the call, and no other
    assert policies == [("connect-failure,refused-stream,retriable-headers", [UNBEGUN[0]])] * 3


def test_the_openapi_description_is_valid() -> None:
    validate(json.loads((FOLDER / "openapi.json").read_text()))


def test_every_http_path_of_the_api_has_a_route_at_the_edge() -> None:
    paths = json.loads((FOLDER / "openapi.json").read_text())["paths"]
    [public] = [
        item
        for item in yaml.safe_load((FOLDER / "edge.yaml").read_text())["static_resources"]["listeners"]
        if item["name"] == "public"
    ]
    manager = public["filter_chains"][0]["filters"][0]["typed_config"]
    [host] = manager["route_config"]["virtual_hosts"]
    routed = [route["match"] for route in host["routes"] if "route" in route]
    for path in paths:
        example = path.replace("{request_id}", "a-1").replace("{name}", "b.png")
        assert any(
            match.get("path") == example
            or ("safe_regex" in match and re.fullmatch(match["safe_regex"]["regex"], example))
            for match in routed
        ), path


def test_envoy_knows_every_message_of_the_api_and_of_its_errors() -> None:
    files = FileDescriptorSet.FromString((FOLDER / "api.binpb").read_bytes()).file
    messages = {f"{file.package}.{message.name}" for file in files for message in file.message_type}
    assert {f"imgedit.v1.{name}" for name in edit_pb2.DESCRIPTOR.message_types_by_name} <= messages
    assert {"google.rpc.Status", "google.rpc.ErrorInfo", "google.rpc.RetryInfo"} <= messages


def test_what_envoy_reads_fits_into_a_configmap_that_kubectl_applies() -> None:
    names = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"][0]["files"]
    # kubectl keeps the object as JSON in an annotation of at most 262,144 bytes; binaries are base64 there.
    sizes = [
        len(base64.b64encode(content)) if name.endswith(".binpb") else len(json.dumps(content.decode()))
        for name, content in ((name, (FOLDER / name).read_bytes()) for name in names)
    ]
    assert sum(sizes) < 250_000


def test_a_cluster_gets_every_file_that_the_edge_names() -> None:
    named = re.findall(r"deploy/envoy/([\w.]+)", (FOLDER / "edge.yaml").read_text())
    files = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"][0]["files"]
    compose = (FOLDER.parent / "docker" / "compose.yaml").read_text()
    assert len(set(named)) == 5
    for name in named:
        assert name in files
        assert f"/etc/envoy/{name}:ro" in compose
