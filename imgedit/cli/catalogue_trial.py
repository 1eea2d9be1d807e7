"""Try a new experiment once.

A separate orchestrator with this experiment uses the running model services.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from imgedit import installation
from imgedit.errors import ServiceUnavailable, SettingsError
from imgedit.imaging import images
from imgedit.local import supervisor as stacks
from imgedit.local.ports import Ports
from imgedit.local.services import MODEL_SERVICES, ORCHESTRATOR
from imgedit.request import EditOptions
from imgedit.result import EditResult
from imgedit.sync_client import SyncEditClient
from imgedit.v1 import edit_pb2

SAMPLE = installation.ROOT / "demo" / "samples" / "blue-in-the-park.png"
"""A scene in a checkout that the demo's checkpoints know and photographs' models can edit."""

PROMPT = "a bright modern gym"
"""The prompt for an experiment without a default one."""

START_SECONDS = 60.0

_PREFIX = f"IMGEDIT_{ORCHESTRATOR.name.upper()}_"

_OWN_DOOR = ("TOKENS", "TOKENS_FILE", "TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA", "TLS_CLIENT_NAMES", "INSECURE")
"""Settings of the public orchestrator that the trial's, on a port of this machine, does without."""


@dataclass(frozen=True)
class Trial:
    """The result of a trial."""

    result: EditResult
    experiment_id: str
    feature_id: str


def run_trial(catalogue: str, picture: Path, base_port: int, timeout: float) -> Trial:
    """Edit a picture with the first feature of a catalogue's text, with its defaults.

    base_port: that of the running stack. Raises `ServiceUnavailable` if a required model service does not serve, and
    the error of a failed edit.
    """
    data = picture.read_bytes()
    size = images.open_untrusted(data, field=str(picture)).size
    with _orchestrator(catalogue, Ports(base_port)) as target, SyncEditClient(target) as client:
        [experiment] = client.experiments()
        feature = experiment.features[0]
        if not feature.available:
            missing = ", ".join(
                f"{name} ({_address(name, Ports(base_port))})" for name in experiment.unavailable_services
            )
            raise ServiceUnavailable(
                f"--check: {missing} does not serve; start the services with `imgedit up`, or say with --base-port "
                "where they are",
                korean=f"--check: 실행 중이 아닌 서비스가 있습니다({missing}). "
                "`imgedit up`으로 시작하거나 --base-port를 지정하세요.",
            )
        result = client.edit(data, timeout=timeout, **_options(experiment.id, feature, data, size))
        return Trial(result, experiment.id, feature.id)


def _options(experiment_id: str, feature: edit_pb2.Feature, picture: bytes, size: tuple[int, int]) -> EditOptions:
    """The fewest options that the feature accepts, with as many references as it may."""
    options = EditOptions(experiment=experiment_id)
    specs = {spec.name: spec for spec in feature.parameters}
    if "prompt" in specs and specs["prompt"].required:
        options["prompt"] = PROMPT
    if "mask_image" in specs and specs["mask_image"].required:
        options["mask"] = _mask(size)
    if "reference_images" in specs:
        options["references"] = [picture] * int(specs["reference_images"].count.max)
    return options


def _mask(size: tuple[int, int]) -> bytes:
    """White in the middle of the picture, as a PNG file."""
    width, height = size
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((width // 4, height // 4, 3 * width // 4, 3 * height // 4), fill=255)
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()


@contextmanager
def _orchestrator(catalogue: str, running: Ports) -> Iterator[str]:
    """Run an orchestrator with this catalogue and the running model services.

    Yields its address.
    """
    own = Ports.free()
    with tempfile.TemporaryDirectory(prefix="imgedit-") as name:
        folder = Path(name)
        file, log = folder / "experiments.yaml", folder / "orchestrator.log"
        file.write_text(catalogue, encoding="utf-8")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{ORCHESTRATOR.name}"],
                env=_environment(file, own, running),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches this process, which ends the other
            )
        try:
            yield _serving(process, own.address(ORCHESTRATOR.name), log)
        finally:
            process.terminate()
            try:
                process.wait(stacks.STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(catalogue: Path, own: Ports, running: Ports) -> dict[str, str]:
    """This process's environment with the settings of the trial's orchestrator.

    Pictures may be as small as the demo's.
    """
    inherited = {k: v for k, v in installation.environment().items() if k.removeprefix(_PREFIX) not in _OWN_DOOR}
    addresses = {f"{_PREFIX}{row.name.upper()}": _address(row.name, running) for row in MODEL_SERVICES}
    settings: dict[str, Any] = {
        "HOST": "127.0.0.1",
        "PORT": own.grpc_port(ORCHESTRATOR.name),
        "METRICS_PORT": own.metrics_port(ORCHESTRATOR.name),
        "EXPERIMENTS": catalogue,
        "EXIT_WITH_PARENT": "true",
        "DRAIN_SECONDS": 0,
        "GRACE_SECONDS": 3,
        "MAX_WORK_PIXELS": stacks.DEMO_WORK_PIXELS,
        "FILL_MIN_WORK_PIXELS": stacks.DEMO_MIN_WORK_PIXELS,
        "QWEN_EDIT_MIN_WORK_PIXELS": stacks.DEMO_MIN_WORK_PIXELS,
    }
    return {**inherited, **addresses, **{f"{_PREFIX}{name}": str(value) for name, value in settings.items()}}


def _address(service: str, running: Ports) -> str:
    """Where a model service is: as the environment says, else in the running stack."""
    return os.environ.get(f"{_PREFIX}{service.upper()}") or running.target(service)


def _serving(process: subprocess.Popen[bytes], target: str, log: Path) -> str:
    """Wait until it serves; return its address.

    Raises `ImgeditError` with the end of the log if it does not.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if stacks.serving_fault(target) is None:
            return target
        time.sleep(0.1)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    raise SettingsError("\n".join(["--check: the orchestrator of the trial does not start:", *lines]))
