"""`imgedit doctor` finds each fault of a machine or a checkpoint, with advice."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from imgedit import installation
from imgedit.local import doctor, doctor_memory
from imgedit.local.doctor import Finding
from imgedit.local.doctor_weights import weights
from imgedit.local.host_memory import HostMemory
from imgedit.local.ports import Ports

pytestmark = pytest.mark.slow

GB = 10**9


def by_name(findings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_the_command_looks_at_everything_and_names_what_is_in_the_way(models: Path) -> None:
    ports = Ports.free()
    command = [sys.executable, "-m", "imgedit.cli", "doctor", "--models", str(models), "--base-port", str(ports.base)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=False)
    answer = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in answer["findings"]}
    for name in ("Python", "versions", "packages of fill", "devices", "memory", "disk", "weights of flux-fill"):
        assert found[name]["state"] != "FAIL", found[name]
        assert found[name]["found"]
    assert "torch 2" in found["versions"]["found"]
    assert "toy size" in found["weights of flux-fill"]["found"]
    for service in ("fill", "qwen_edit"):
        assert "GB of main memory at most" in found[f"memory of {service}"]["found"]
    failed = [finding for finding in answer["findings"] if finding["state"] == "FAIL"]
    assert answer["ok"] == (not failed)
    assert done.returncode == (1 if failed else 0)
    assert all(finding["advice"] for finding in answer["findings"] if finding["state"] in ("WARN", "FAIL"))


NEEDS = {
    "networks": {"transformer": 12 * GB, "vae": GB},
    "weights": "stored",
    "dtype": "float32",
    "load": {"anonymous": 14 * GB, "resident": 18 * GB},
    "edit": {"anonymous": 15 * GB, "resident": 15 * GB},
    "on_device": 0,
    "host": 15 * GB,
}


@pytest.mark.parametrize(("available", "state"), [(16 * GB, "OK"), (14 * GB, "WARN")])
def test_needed_memory_is_compared_with_the_free_memory(
    available: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "FLUX.1-Fill-dev").mkdir()
    monkeypatch.setattr(doctor_memory, "predicted", lambda *_: NEEDS)
    monkeypatch.setattr(doctor_memory, "host_memory", lambda: HostMemory(24 * GB, available))
    (found,) = doctor_memory.memory_needs(tmp_path, {})
    assert (found.name, found.state) == ("memory of fill", state)
    assert found.found.startswith("15.0 GB of main memory at most, 13.0 GB of them weights")
    assert ("14.0 GB are free: set IMGEDIT_FILL_WEIGHTS=stored" in found.advice) == (state == "WARN")


def test_memory_that_cannot_be_known_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "FLUX.1-Fill-dev").mkdir()
    (found,) = doctor_memory.memory_needs(tmp_path, {"IMGEDIT_FILL_DTYPE": "float8"})
    assert (found.state, "IMGEDIT_FILL_DTYPE" in found.found) == ("NOTE", True)


def test_a_taken_port_is_named_with_the_way_out() -> None:
    ports = Ports.free()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.grpc_port("fill")))
        taken.listen()
        found = by_name(doctor.listeners(ports))
    fill = found[f"port {ports.grpc_port('fill')} (fill)"]
    assert (fill.state, "--base-port" in fill.advice) == ("FAIL", True)
    assert found[f"port {ports.base} (orchestrator)"].state == "OK"


@pytest.mark.parametrize(
    ("device", "state", "advice"),
    [
        ({}, "OK", ""),
        ({"memory": 16 * GB, "free": 15 * GB}, "WARN", "GGUF"),
        ({"memory": 25_800_000_000, "free": 25 * GB}, "WARN", "FLUX.1-Fill needs 39.0 GB: set IMGEDIT_FILL_OFFLOAD or"),
        ({"memory": 25_800_000_000, "free": 25 * GB}, "WARN", "Qwen-Image-Edit needs 68.0 GB"),
        ({"memory": 48 * GB, "free": 47 * GB}, "WARN", "the published Qwen-Image-Edit needs 68.0 GB: set IMGEDIT_QWEN"),
        ({"free": 10 * GB}, "WARN", "nvidia-smi"),
        ({"bf16": False}, "WARN", "_DTYPE to float32, with _OFFLOAD"),
    ],
)
def test_a_gpu_is_judged_by_its_memory_and_its_number_formats(device: Any, state: str, advice: str) -> None:
    whole = {"name": "a GPU", "memory": 80 * GB, "free": 79 * GB, "capability": "9.0", "bf16": True}
    found = doctor._device({**whole, **device}, {})
    assert (found.state, advice in found.advice) == (state, True)


def test_a_gpu_that_settings_make_large_enough_is_fit() -> None:
    card = {"name": "a GPU", "memory": 48 * GB, "free": 47 * GB, "capability": "8.9", "bf16": True}
    assert doctor._device(card, {"IMGEDIT_QWEN_EDIT_OFFLOAD": "group"}).state == "OK"
    assert "FILL" not in doctor._device(card, {}).advice


REQUIRES = [
    "numpy",
    "pillow>=12.3,<1000",
    'colorama; sys_platform == "no such system"',
    'imgedit-serving[inner_part]; extra == "outer"',
    'numpy<1; extra == "inner-part"',
    'no-such-package>=2; extra == "inner-part" and python_version >= "3.11"',
    'pillow; extra == "outer"',
]


@pytest.mark.parametrize(
    ("extra", "faults"),
    [
        ("", []),
        ("outer", ["no-such-package is missing", f"numpy is {metadata.version('numpy')}, must be <1"]),
        ("another", []),
    ],
)
def test_requirements_count_by_the_rules_of_pip(extra: str, faults: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgedit.local.doctor.metadata.requires", lambda name: REQUIRES)
    assert sorted(doctor._missing(extra)) == faults


def test_a_project_that_is_not_installed_as_a_package_has_no_known_requirements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installation, "DISTRIBUTION", "no-such-package")
    [found] = doctor.packages()
    assert (found.state, "make install" in found.advice) == ("NOTE", True)


def test_a_driver_without_a_usable_torch_is_in_the_way() -> None:
    facts = {"torch": "2.13.0+cpu", "cuda_build": None, "cpu_threads": 2, "cpu_bf16": True}
    assert doctor._processor(facts, has_driver=False).state == "WARN"
    assert "build for CUDA" in doctor._processor(facts, has_driver=True).advice
    assert "nvidia-smi" in doctor._processor({**facts, "cuda_build": "13.0"}, has_driver=True).advice


def test_settings_are_told_and_secrets_are_not() -> None:
    [found] = doctor.settings_of({"IMGEDIT_FILL_OFFLOAD": "model", "IMGEDIT_TOKEN": "imgedit_abc", "HOME": "/"})
    assert "IMGEDIT_FILL_OFFLOAD=model" in found.found
    assert "imgedit_abc" not in found.found
    assert not list(doctor.settings_of({}))


def test_no_folder_and_a_wrong_folder_are_told_apart(tmp_path: Path) -> None:
    assert [finding.state for finding in weights(None)] == ["NOTE"]
    assert [finding.state for finding in weights(tmp_path / "none")] == ["FAIL"]
    assert {finding.state for finding in weights(tmp_path)} == {"NOTE"}


def without(*parts: str) -> Callable[[Path], None]:
    return lambda models: shutil.rmtree(models.joinpath(*parts))


def cut(models: Path) -> None:
    path = models / "FLUX.1-Fill-dev" / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def pointer(models: Path) -> None:
    (models / "BEN2" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")


def code(models: Path) -> None:
    (models / "Qwen-Image-Edit-2509" / "pipeline.py").write_text("")


def shards(models: Path) -> None:
    index = models / "FLUX.1-Fill-dev" / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))


@pytest.mark.parametrize(
    ("harm", "model", "words"),
    [
        (without("FLUX.1-Fill-dev", "vae"), "flux-fill", "vae is missing"),
        (cut, "flux-fill", "cut short"),
        (shards, "flux-fill", "gone.safetensors is missing"),
        (pointer, "ben2", "git lfs pull"),
        (code, "qwen-image-edit", "pipeline.py"),
    ],
)
def test_a_checkpoint_that_will_not_load_is_named(
    harm: Callable[[Path], None], model: str, words: str, models: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    harm(copy)
    found = by_name(weights(copy))[f"weights of {model}"]
    assert found.state == "FAIL"
    assert words in found.found
    assert "imgedit models pull" in found.advice


def test_a_folder_without_the_transformers_weights_wants_a_gguf_file(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    (tmp_path / "FLUX.1-Fill-dev" / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    found = by_name(weights(tmp_path))["weights of flux-fill"]
    assert (found.state, "IMGEDIT_FILL_GGUF" in found.advice) == ("WARN", True)


def test_the_licence_of_flux_is_told_beside_its_published_weights(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "FLUX.1-Fill-dev" / "filler.txt").open("wb") as file:
        file.truncate(2 * GB)  # sparse
    found = by_name(weights(tmp_path))
    assert "no commercial use" in found["licence of flux-fill"].found
    assert found["licence of flux-fill"].state == "WARN"
    assert "licence of ben2" not in found
