"""The images as compose.yaml runs them: constraints, edits, SIGTERM, compilation."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from deploy.docker import compose
from deploy.docker.engine import Engine
from imgedit.local.supervisor import DEMO_MIN_WORK_PIXELS, DEMO_WORK_PIXELS
from tests.images.running import FACTS, Bench
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SERVICES = compose.services()
STARTED = ("segmentation", "fill", "qwen-edit", "orchestrator", "openai-api", "studio", "edge")
"""Prometheus and Grafana are left out: their images hold nothing of this project."""

VARIABLES = {"IMGEDIT_MODELS": str(ROOT / "demo" / "models"), "IMGEDIT_OFFLOAD": "none"}
DEMO = {
    "IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS": str(DEMO_WORK_PIXELS),
    "IMGEDIT_ORCHESTRATOR_FILL_MIN_WORK_PIXELS": str(DEMO_MIN_WORK_PIXELS),
    "IMGEDIT_ORCHESTRATOR_QWEN_EDIT_MIN_WORK_PIXELS": str(DEMO_MIN_WORK_PIXELS),
}

SAMPLE = "in-the-gym.png"

FETCH = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], data=sys.argv[2].encode() if len(sys.argv) > 2 else None)
request.add_header("content-type", "application/json")
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300).read().decode())
"""


@dataclass(frozen=True)
class ComposeStack:
    """The services of compose.yaml, running."""

    bench: Bench
    images: dict[str, str]
    work: Path

    def edit(self, experiment: str, prompt: str, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Edit the sample through the edge, by the command line in the image `models`."""
        command = ["edit", f"/work/{SAMPLE}", "-e", experiment, "-p", prompt, "-o", f"/work/{name}", "--json"]
        mount = f"--volume={self.work}:/work"
        return self.bench.run(self.images["models"], [mount], [*command, *options, "--target", "edge:8080"])

    def fetch(self, url: str, body: str | None = None) -> dict:
        """GET a URL, or POST a body to it, from a container on the network."""
        arguments = ["-c", FETCH, url, *([body] if body else [])]
        done = self.bench.run(self.images["models"], ["--entrypoint=python"], arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def stack(
    running_engine: Engine, image: Callable[[str], str], envoy: Callable[[str], str], work: Path
) -> Iterator[ComposeStack]:
    FACTS.append("compose.yaml: without Prometheus, Grafana, the GPU, published ports and restarts")
    images = {name: image(name) for name in (*STARTED[:-1], "models")}
    images["edge"] = envoy(SERVICES["edge"]["image"])
    shutil.copy(ROOT / "demo" / "samples" / SAMPLE, work)
    bench = Bench(running_engine, [other for name in STARTED for other in compose.names(name, SERVICES[name])])
    # An alias has the address of its service.
    for name in STARTED:
        for alias in compose.names(name, SERVICES[name]):
            bench.addresses[alias] = bench.addresses[name]
    try:
        for name in STARTED:
            start(bench, name, images[name], DEMO if name == "orchestrator" else {})
        for name in STARTED[:-1]:
            bench.wait_healthy(name, images[name])
        yield ComposeStack(bench, images, work)
    finally:
        bench.close()


def start(bench: Bench, name: str, image: str, settings: dict[str, str]) -> None:
    """Start a service as compose.yaml says, with these settings beside."""
    service = SERVICES[name.removesuffix("-compiled")]
    more = [f"--env={key}={value}" for key, value in settings.items()]
    bench.start(name, image, [*compose.options(name, service, VARIABLES), *more], compose.command(service))


@pytest.mark.parametrize("name", STARTED)
def test_a_service_runs_as_nobody_without_capabilities_or_new_privileges(name: str, stack: ComposeStack) -> None:
    status = stack.bench.status(name)
    assert set(status["Uid"].split()) == {"10001"}
    assert set(status["Gid"].split()) == {"10001"}
    assert {status[key].strip("0") for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("name", STARTED[:-1])
def test_a_service_can_write_to_its_tmp_alone(name: str, stack: ComposeStack) -> None:
    code = (
        "import pathlib as p\n"
        "p.Path('/tmp/x').write_text('x')\n"
        "for f in ('/x', '/srv/imgedit/x', '/models/x'):\n"
        "    try:\n        p.Path(f).write_text('x')\n        print('wrote', f)\n"
        "    except OSError:\n        pass"
    )
    done = stack.bench.call(name, ["python", "-c", code])
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("experiment", "prompt"),
    [("ben2_flux_fill", "배경을 현대적인 체육관으로 변경"), ("ben2_qwen_image", "상의를 빨간색으로 변경")],
)
def test_an_edit_of_each_experiment_passes_through_the_edge(experiment: str, prompt: str, stack: ComposeStack) -> None:
    done = stack.edit(experiment, prompt, f"{experiment}.png", "--steps", "10", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = (Image.open(stack.work / name).convert("RGB") for name in (SAMPLE, f"{experiment}.png"))
    assert after.size == before.size
    assert after.tobytes() != before.tobytes()


def test_rest_and_openais_api_answer_at_the_edge(stack: ComposeStack) -> None:
    listed = stack.fetch("http://edge:8080/v1/experiments")
    assert {found["id"] for found in listed["experiments"]} >= {"ben2_flux_fill", "ben2_qwen_image"}
    models = stack.fetch("http://edge:8080/v1/models")
    assert {found["id"] for found in models["data"]}


def test_the_page_answers(stack: ComposeStack) -> None:
    code = "import urllib.request as r; print(b'<title>' in r.urlopen('http://127.0.0.1:8501/', timeout=30).read())"
    assert stack.bench.call("studio", ["python", "-c", code]).stdout.strip() == "True"


def test_compiled_steps_work_under_the_same_constraints(stack: ComposeStack) -> None:
    """The compiler of the image, an executable /tmp, Python's headers."""
    name = "fill-compiled"
    stack.bench.addresses[name] = f"{stack.bench.prefix}.200"
    start(stack.bench, name, stack.images["fill"], {"IMGEDIT_FILL_COMPILE": "regional"})
    try:
        stack.bench.wait_healthy(name, stack.images["fill"], seconds=900)
        compiled = stack.bench.call(name, ["python", "-c", "import pathlib as p; print(*p.Path('/tmp').rglob('*.so'))"])
        assert ".so" in compiled.stdout, compiled.stderr
        assert stack.bench.stop(name) == 0
    finally:
        stack.bench.remove(name)


def test_sigterm_waits_for_the_edit_that_runs_and_every_service_ends_with_0(stack: ComposeStack) -> None:
    """The last test of the stack."""
    command = [
        "edit",
        f"/work/{SAMPLE}",
        "-e",
        "ben2_flux_fill",
        "-p",
        "a modern gym",
        "-o",
        "/work/last.png",
        "--json",
    ]
    command += ["--steps", "50", "--target", "edge:8080"]
    bench = stack.bench
    bench.addresses["client"] = f"{bench.prefix}.201"
    bench.start("client", stack.images["models"], [f"--volume={stack.work}:/work", "--user=10001:10001"], command)
    wait_for(lambda: "imgedit_rpc_in_flight" in in_flight(bench))
    assert bench.stop("fill") == 0
    wait_for(lambda: not bench.is_running("client"))
    state = bench.engine.container(bench.container("client"))["State"]
    assert state["ExitCode"] == 0, bench.logs("client")
    assert (stack.work / "last.png").exists()
    others = [name for name in STARTED if name != "fill"]
    assert {name: bench.stop(name) for name in others} == dict.fromkeys(others, 0)


def in_flight(bench: Bench) -> str:
    """The lines of fill's metrics that report a running call."""
    code = (
        "import urllib.request as r\n"
        "text = r.urlopen('http://127.0.0.1:9103/metrics', timeout=30).read().decode()\n"
        "lines = [line for line in text.splitlines() if line.startswith('imgedit_rpc_in_flight')]\n"
        "print(*[line for line in lines if 'rpc=\"Fill\"' in line and line.endswith(' 1.0')])"
    )
    return bench.call("fill", ["python", "-c", code]).stdout
