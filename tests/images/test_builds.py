"""Every target builds, imports its program as user 10001, and stays in budget."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.docker import build
from deploy.docker.base_images import Bases
from deploy.docker.engine import Engine
from tests.images.running import CONSTRAINTS, FACTS, health_check

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MEGABYTE = 10**6

BUDGETS = {
    "orchestrator": 220,
    "segmentation": 1300,
    "fill": 1900,
    "qwen-edit": 1900,
    "openai-api": 220,
    "studio": 600,
    "models": 240,
    "demo-models": 30,
}
"""Megabytes beyond the image that a target starts from. torch is the build for the CPU."""

MODULES = {
    "orchestrator": "services.orchestrator.__main__, yaml, opentelemetry.sdk",
    "segmentation": "services.segmentation.model, services.segmentation.__main__",
    "fill": "services.fill.model, services.fill.__main__, diffusers, gguf, peft",
    "qwen-edit": "services.qwen_edit.model, services.qwen_edit.__main__, diffusers, gguf, peft",
    "openai-api": "services.openai_api.server, services.openai_api.__main__",
    "studio": "studio.asgi, studio.page, streamlit",
    "models": "imgedit.weights.pull, huggingface_hub",
}
"""What the program of each image needs."""

MODEL_TARGETS = ("segmentation", "fill", "qwen-edit")
HAS_CUDA = "import torch; print(torch.version.cuda is not None)"

TARGETS = pytest.mark.parametrize("target", build.TARGETS)


@TARGETS
def test_a_target_builds_and_stays_within_its_budget(
    target: str, engine: Engine, bases: Bases, image: Callable[[str], str]
) -> None:
    name = image(target)
    if not engine.can_run:
        pytest.skip("built; buildah tells no size")
    origin = bases.busybox if target == "demo-models" else bases.python
    added = engine.image(name)["Size"] - engine.image(origin)["Size"]
    FACTS.append(f"{target}: {added / MEGABYTE:.0f} MB beyond {origin}")
    if target in MODEL_TARGETS and run_python(engine, name, HAS_CUDA).stdout.strip() == "True":
        pytest.skip(f"built; {added / MEGABYTE:.0f} MB with CUDA, and the budget is for the CPU build of torch")
    assert added < BUDGETS[target] * MEGABYTE


@pytest.mark.parametrize("target", MODULES)
def test_an_image_imports_what_it_runs_as_nobody_on_a_read_only_root(
    target: str, running_engine: Engine, image: Callable[[str], str]
) -> None:
    done = run_python(running_engine, image(target), f"import os, {MODULES[target]}; print(os.getuid(), os.getgid())")
    assert (done.returncode, done.stdout.split()) == (0, ["10001", "10001"]), done.stderr


@pytest.mark.parametrize("target", [target for target in MODULES if target != "models"])
def test_an_image_keeps_its_health_check(target: str, running_engine: Engine, image: Callable[[str], str]) -> None:
    assert health_check(running_engine, image(target))[0] == "python"


@pytest.mark.parametrize("target", ["orchestrator", "openai-api", "studio", "models"])
def test_an_image_without_a_model_has_no_torch(
    target: str, running_engine: Engine, image: Callable[[str], str]
) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'diffusers', 'transformers') if u.find_spec(n)])"
    assert run_python(running_engine, image(target), code).stdout.strip() == "[]"


def test_the_models_image_lists_its_models(running_engine: Engine, image: Callable[[str], str]) -> None:
    name = image("models")
    done = running_engine.call("run", "--rm", "--network=none", *CONSTRAINTS, name, "models", "list", check=False)
    assert done.returncode == 0, done.stderr
    assert "FLUX.1-Fill-dev" in done.stdout


def run_python(engine: Engine, name: str, code: str):
    options = ["--rm", "--network=none", *CONSTRAINTS, "--tmpfs=/tmp:size=256m,noexec", "--entrypoint=python"]
    return engine.call("run", *options, name, "-c", code, check=False)
