"""The lists of docs/extending.md are complete: their blocks work in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import google.api
import numpy as np
import pytest
from PIL import Image, ImageFilter

from imgedit import SyncEditClient
from imgedit.local.ports import Ports
from imgedit.local.supervisor import is_serving
from tests.manual import ROOT, blocks
from tests.support.waiting import wait_for

from .conftest import RunningStack

PAGE = ROOT / "docs" / "extending.md"
BLOCKS = [block for block in blocks(PAGE) if block.kind in ("new file", "change")]
MAX_PLACES = 5
"""That a new service may need to be edited by hand; the files of its own package are one."""

CATALOGUE = """
experiments:
  - id: fine
    name: fine
    models: [{model_id: FLUX.1-Fill}]
    features:
      - &plain
        id: plain
        name: plain
        stages: [segment, mask: {choose: background}, fill, composite]
        parameters:
          steps: {default: 4, min: 1, max: 50}
          guidance_scale: {default: 3.5, min: 1.0, max: 15.0}
          strength: {default: 0.8, min: 0.0, max: 1.0}
      - <<: *plain
        id: sharp
        name: sharp
        stages: [segment, mask: {choose: background}, fill, composite, sharpen: {amount: 1.5}]
"""


def changed(text: str, diff: str) -> str:
    """The text with every hunk of the diff applied; each must match exactly once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"{PAGE.name}: not there once:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the stage and the service."""
    copy = tmp_path_factory.mktemp("extended")
    for folder in ("imgedit", "services", "protos", "config"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for block in BLOCKS:
        path = copy / block.word
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed(path.read_text("utf-8"), block.code) if block.kind == "change" else block.code, "utf-8")
    protos = [str(path.relative_to(copy)) for path in copy.glob("protos/imgedit/**/*.proto")]
    site = Path(next(iter(google.api.__path__))).parents[1]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-Iprotos",
        f"-I{site}",
        "--python_out=.",
        "--grpc_python_out=.",
    ]
    subprocess.run([*command, *protos], cwd=copy, check=True, timeout=120)
    (copy / "catalogue.yaml").write_text(CATALOGUE, "utf-8")
    return copy


@contextmanager
def running(project: Path, name: str, environment: dict[str, str]) -> Iterator[None]:
    """A service of the copy."""
    with (project / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}"],
            cwd=project,
            env={**os.environ, **environment, "PYTHONPATH": str(project)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def extended(project: Path, stack: RunningStack) -> Iterator[SyncEditClient]:
    """A client of the copy's orchestrator, with running and new model services."""
    ports = Ports.free()
    sharpen = f"127.0.0.1:{ports.base + 1}"
    environment = {
        "IMGEDIT_ORCHESTRATOR_PORT": str(ports.base),
        "IMGEDIT_ORCHESTRATOR_METRICS_PORT": str(ports.metrics_base),
        "IMGEDIT_ORCHESTRATOR_EXPERIMENTS": str(project / "catalogue.yaml"),
        "IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS": "16384",
        "IMGEDIT_ORCHESTRATOR_SHARPEN": sharpen,
        **{f"IMGEDIT_ORCHESTRATOR_{name.upper()}": stack.ports.address(name) for name in ("segmentation", "fill")},
        "IMGEDIT_SHARPEN_PORT": str(ports.base + 1),
        "IMGEDIT_SHARPEN_METRICS_PORT": str(ports.metrics_base + 1),
    }
    with ExitStack() as services:
        for name in ("sharpen", "orchestrator"):
            services.enter_context(running(project, name, environment))
        for address in (sharpen, f"127.0.0.1:{ports.base}"):
            wait_for(partial(is_serving, address))
        yield services.enter_context(SyncEditClient(f"127.0.0.1:{ports.base}"))


def test_a_service_takes_few_places() -> None:
    section = PAGE.read_text("utf-8").partition("## A model service")[2].partition("\n## ")[0]
    places = {block.word for block in BLOCKS if block.code in section}
    assert {place for place in places if not place.startswith("services/sharpen/")} | {"services/sharpen"} == {
        "protos/imgedit/inference/v1/sharpen.proto",
        "services/sharpen",
        "imgedit/local/services.py",
        "services/orchestrator/backends/clients.py",
    }
    assert len({place.rpartition("/")[0] if "sharpen/" in place else place for place in places}) <= MAX_PLACES


def test_an_edit_goes_through_the_new_stage_and_the_new_service(extended: SyncEditClient, photo: Path) -> None:
    def edit(feature: str) -> Image.Image:
        answer = extended.edit(photo, experiment="fine", feature=feature, prompt="a gym", seed=3)
        return Image.open(BytesIO(answer.output_image)).convert("RGB")

    plain, sharp = edit("plain"), edit("sharp")
    expected = plain.filter(ImageFilter.UnsharpMask(2.0, percent=150, threshold=0))
    assert np.array_equal(np.asarray(sharp), np.asarray(expected))
    assert not np.array_equal(np.asarray(sharp), np.asarray(plain))


def test_the_new_stage_is_listed_and_its_options_are_checked(extended: SyncEditClient, project: Path) -> None:
    [experiment] = extended.experiments()
    stages = {feature.id: list(feature.stages) for feature in experiment.features}
    assert stages["sharp"] == [*stages["plain"], "sharpen"]
    (project / "wrong.yaml").write_text(CATALOGUE.replace("amount: 1.5", "amount: 9"), "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "services.orchestrator.catalogue", "check", "wrong.yaml"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode != 0
    assert "amount" in checked.stdout + checked.stderr
