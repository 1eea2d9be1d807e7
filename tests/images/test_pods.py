"""The overlay kind-demo, played as pods by podman, as far as podman goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image

from deploy.docker import build, pods
from deploy.docker.base_images import Bases
from deploy.docker.engine import Engine
from imgedit.local.services import TABLE
from tests.deploy.kubernetes import K8S, Object, quantity, render
from tests.images.running import CONSTRAINTS, FACTS
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
NAMES = (*(row.image for row in TABLE), "imgedit-edge", "imgedit-studio")
ENVOY = "envoyproxy/envoy:distroless-v1.40.0"
TOKEN = "imgedit_demo-token-that-everybody-knows"
SAMPLE = "in-the-gym.png"

ASK = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for url in sys.argv[1:]:
    opener.open(url, timeout=5).read()
"""


class PlayedPods:
    """The pods, each with its own address on a network without a way out."""

    def __init__(self, engine: Engine, objects: Sequence[Object], models_image: str, work: Path) -> None:
        self.engine, self.objects, self.models_image, self.work = engine, objects, models_image, work
        self.deployments = pods.deployments(objects)
        self.network = f"imgedit-pods-{os.getpid()}"
        prefix = f"10.214.{16 + os.getpid() % 200}"
        self.addresses = {name: f"{prefix}.{10 + number}" for number, name in enumerate(NAMES)}
        self.files: list[Path] = []
        engine.call("network", "create", "--internal", f"--subnet={prefix}.0/24", self.network)

    def play(self, name: str, objects: list[Object]) -> None:
        path = self.work / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(objects, allow_unicode=True, sort_keys=False))
        self.files.append(path)
        where = [f"--network={self.network}", f"--ip={self.addresses[name]}"]
        self.engine.call("kube", "play", *where, str(path), timeout=900)

    def run(self, options: list[str], command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run the image `models` to its end, on the network of the pods."""
        hosts = [f"--add-host={name}:{ip}" for name, ip in self.addresses.items()]
        given = [
            "--rm",
            f"--network={self.network}",
            *hosts,
            *CONSTRAINTS,
            "--tmpfs=/tmp",
            f"--volume={self.work}:/work",
        ]
        return self.engine.call("run", *given, *options, self.models_image, *command, check=False)

    def run_in(self, pod: str, options: list[str], command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run the image `models` to its end in a pod.

        There it calls the pod by a loopback address, as `kubectl port-forward` does.
        """
        given = [
            "--rm",
            f"--pod={pod}",
            *CONSTRAINTS,
            "--tmpfs=/tmp",
            f"--volume={self.work}:/work",
        ]
        return self.engine.call("run", *given, *options, self.models_image, *command, check=False)

    def answers(self, name: str, kind: str) -> bool:
        """Whether all probes of this kind succeed, from outside as the kubelet asks."""
        asked = [probe for probe in pods.probes(self.deployments[name]) if probe.kind == kind]
        urls = [f"http://{self.addresses[name]}:{probe.port}{probe.path}" for probe in asked]
        return self.run(["--entrypoint=python"], ["-c", ASK, *urls]).returncode == 0

    def close(self) -> None:
        for name in NAMES:
            self.engine.call("pod", "rm", "--force", name, check=False)
        self.engine.call("network", "rm", "--force", self.network, check=False)
        for file in self.files:
            volumes = [v["name"] for d in yaml.safe_load_all(file.read_text()) if d["kind"] == "Pod"
                       for v in d["spec"].get("volumes", []) if "emptyDir" in v]  # fmt: skip
            self.engine.call("volume", "rm", "--force", *volumes, check=False)


@dataclass(frozen=True)
class Played:
    """The running pods, and the folder that they share with the tests."""

    pods: PlayedPods
    work: Path


@pytest.fixture(scope="module")
def played(
    running_engine: Engine,
    image: Callable[[str], str],
    envoy: Callable[[str], str],
    bases: Bases,
    work: Path,
) -> Iterator[Played]:
    if running_engine.program != "podman":
        pytest.skip(f"{running_engine.program} plays no manifests; install podman, and set IMGEDIT_TEST_ENGINE=podman")
    FACTS.append(f"kind-demo: not played: {pods.NOT_PLAYED}")
    images = {f"imgedit-{target}:demo": image(target) for target in build.TARGETS}
    images[ENVOY] = envoy(ENVOY)
    shutil.copy(ROOT / "demo" / "samples" / SAMPLE, work)
    running = PlayedPods(running_engine, render(K8S / "overlays/kind-demo"), image("models"), work)
    try:
        for name in NAMES:
            objects = pods.pod(running.deployments[name], running.objects, running.addresses)
            for container in pods.containers(objects):
                container["image"] = images[container["image"]]
            running.play(name, objects)
        for name in NAMES:
            wait_for(lambda name=name: running.answers(name, "readinessProbe"), seconds=900)
        yield Played(running, work)
    finally:
        running.close()


def test_every_deployment_is_played(played: Played) -> None:
    assert set(NAMES) == set(played.pods.deployments)


@pytest.mark.parametrize("kind", pods.PROBES)
@pytest.mark.parametrize("name", NAMES)
def test_the_probes_of_a_pod_succeed(name: str, kind: str, played: Played) -> None:
    assert played.pods.answers(name, kind)


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_is_constrained_as_its_manifest_says(name: str, played: Played) -> None:
    engine = played.pods.engine
    for wanted in played.pods.deployments[name]["spec"]["template"]["spec"]["containers"]:
        found = engine.container(f"{name}-{wanted['name']}")
        status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
        lines = {key: value.split() for key, _, value in (line.partition(":") for line in status.splitlines())}
        assert lines["Uid"] == ["10001"] * 4
        assert int(lines["CapEff"][0], 16) == 0
        assert lines["NoNewPrivs"] == ["1"]
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert found["HostConfig"]["Memory"] == quantity(wanted["resources"]["limits"]["memory"])


def test_an_edit_needs_the_token_and_passes_through_edge_sidecar_and_services(played: Played) -> None:
    command = ["edit", f"/work/{SAMPLE}", "-e", "ben2_flux_fill", "-p", "배경을 현대적인 체육관으로 변경", "--json"]
    command += ["-o", "/work/pods.png", "--steps", "10", "--target", "127.0.0.1:8080"]
    refused = played.pods.run_in("imgedit-edge", [], command)
    assert refused.returncode != 0
    assert json.loads(refused.stdout)["error"]["code"] == "UNAUTHENTICATED"
    done = played.pods.run_in("imgedit-edge", [f"--env=IMGEDIT_TOKEN={TOKEN}"], command)
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(played.work / "pods.png") as made, Image.open(played.work / SAMPLE) as sample:
        assert made.size == sample.size
