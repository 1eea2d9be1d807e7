"""The container images: their steps run in a clean environment, without an engine.

`make test-images` builds and runs the images themselves.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
import yaml

from imgedit.local import malloc
from imgedit.local.ports import Ports
from imgedit.local.supervisor import is_serving
from services.common.settings import ServerSettings
from studio import settings as studio_settings
from tests.deploy.kubernetes import ROOT
from tests.deploy.test_kubernetes import SETTINGS

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
MAX_ORCHESTRATOR_BYTES = 200_000_000

pytestmark = pytest.mark.timeout(700)  # installs packages


def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = [f"FROM {match[1]}"]
        elif line and not line.startswith("#") and found:
            found[next(reversed(found))].append(line)
    return found


def lineage(stage: str) -> list[str]:
    """The instructions of a stage and of those that it starts from, the oldest first."""
    known = stages()
    origin = known[stage][0].removeprefix("FROM ")
    return (lineage(origin) if origin in known else []) + known[stage][1:]


def words(instructions: list[str], kind: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in instructions if line.startswith(f"{kind} ")]


def environment(stage: str) -> dict[str, str]:
    pairs = [word for line in words(lineage(stage), "ENV") for word in line]
    return dict(pair.split("=", 1) for pair in pairs)


def copy_into(folder: Path, instructions: list[str]) -> None:
    """The project files that the stage copies."""
    for arguments in words(instructions, "COPY"):
        for source in arguments[:-1] if not arguments[0].startswith("--from") else ():
            path, target = ROOT / source, folder / source
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                target.parent.mkdir(exist_ok=True)
                shutil.copy(path, target)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The orchestrator's environment of its build stage, in a separate folder."""
    return install("build-orchestrator", tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def studio_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's environment, likewise.

    Without bytecode: most of its modules are not imported here.
    """
    return install("build-studio", tmp_path_factory.mktemp("studio"), PIP_NO_COMPILE="1")


def install(stage: str, context: Path, **variables: str) -> Path:
    """Run the steps of a build stage in their order; the environment that they make."""
    venv = context / "venv"
    for instruction in lineage(stage):
        copy_into(context, [instruction])
        command = next(iter(words([instruction], "RUN")), None)
        if command is None:
            continue
        here = [word.replace("/opt/imgedit", str(venv)) for word in command]
        made = venv / "bin" / here[0]
        program = str(made) if made.exists() else sys.executable if here[0] == "python" else here[0]
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        subprocess.run([program, *here[1:]], cwd=context, env={**clean, **variables}, check=True, timeout=600)
    return venv


def test_every_image_keeps_memory_as_the_services_of_one_machine_do() -> None:
    for service in ("segmentation", "fill", "qwen-edit", "orchestrator", "openai-api"):
        assert malloc.SERVICE.items() <= environment(service).items()


def test_the_orchestrators_environment_is_small_and_has_no_torch(installed: Path) -> None:
    size = sum(path.stat().st_size for path in installed.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < MAX_ORCHESTRATOR_BYTES
    packages = {path.name.split("-")[0].lower() for path in installed.glob("lib/*/site-packages/*.dist-info")}
    assert {"grpcio", "pillow", "pydantic"} <= packages
    assert not packages & {"torch", "diffusers", "transformers", "gguf"}


def test_the_orchestrator_starts_in_its_own_environment_and_answers(installed: Path, tmp_path: Path) -> None:
    [entry] = [line.removeprefix("ENTRYPOINT ") for line in lineage("orchestrator") if line.startswith("ENTRYPOINT")]
    command = yaml.safe_load(entry)
    own = Ports.free()
    port, metrics = own.base, own.metrics_base
    env = {
        "PATH": f"{installed / 'bin'}:/usr/bin:/bin",
        **{key: value for key, value in environment("orchestrator").items() if key not in ("PATH", "HOME")},
        "IMGEDIT_ORCHESTRATOR_PORT": str(port),
        "IMGEDIT_ORCHESTRATOR_METRICS_PORT": str(metrics),
        "IMGEDIT_ORCHESTRATOR_DRAIN_SECONDS": "0",
    }
    copy_into(tmp_path, lineage("orchestrator"))
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 60
        while not is_serving(f"127.0.0.1:{port}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        [check] = [line for line in lineage("orchestrator") if line.startswith("HEALTHCHECK")]
        probe = yaml.safe_load(check[check.index("CMD") + 4 :].replace(":9101/", f":{metrics}/"))
        assert subprocess.run(probe, env=env, timeout=30).returncode == 0
        mapped = {Path(item.path).name for item in psutil.Process(process.pid).memory_maps()}
        assert not any("torch" in name for name in mapped)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=2)


def test_the_pages_environment_has_no_torch(studio_environment: Path) -> None:
    packages = {path.name.split("-")[0].lower() for path in studio_environment.glob("lib/*/site-packages/*.dist-info")}
    assert {"streamlit", "grpcio", "pillow", "authlib"} <= packages
    assert not packages & {"torch", "diffusers", "transformers", "gguf", "prometheus_client"}


def test_the_page_starts_in_its_own_environment_and_is_healthy(studio_environment: Path, tmp_path: Path) -> None:
    [entry] = [line.removeprefix("ENTRYPOINT ") for line in lineage("studio") if line.startswith("ENTRYPOINT")]
    port = Ports.free().base
    env = {
        "PATH": f"{studio_environment / 'bin'}:/usr/bin:/bin",
        **{key: value for key, value in environment("studio").items() if key != "PATH"},
        "IMGEDIT_STUDIO_PORT": str(port),
    }
    copy_into(tmp_path, lineage("studio"))
    [check] = [line for line in lineage("studio") if line.startswith("HEALTHCHECK")]
    probe = yaml.safe_load(check[check.index("CMD") + 4 :].replace(":8501/", f":{port}/"))
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(yaml.safe_load(entry), cwd=tmp_path, env=env, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(probe, env=env, timeout=30, capture_output=True, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            assert b"<title>" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) is not None
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "target", ["orchestrator", "segmentation", "fill", "qwen-edit", "openai-api", "studio", "models"]
)
def test_an_image_runs_as_nobody_in_particular_and_has_no_tools_that_it_does_not_call(target: str) -> None:
    instructions = lineage(target)
    users = [line.split()[1] for line in instructions if line.startswith("USER")]
    assert users[-1] == "10001:10001"
    last = max(i for i, line in enumerate(instructions) if line.startswith("USER"))
    assert not any(line.startswith("RUN") for line in instructions[last:])
    installed = [line for line in instructions if "apt-get" in line]
    if target in ("fill", "qwen-edit"):  # COMPILE=regional calls a compiler
        assert [re.findall(r"--no-install-recommends ([^&]+) &&", line) for line in installed] == [["g++"]]
    else:
        assert not installed
    labels = " ".join(line for line in instructions if line.startswith("LABEL"))
    assert "org.opencontainers.image.title" in labels


def normal(extra: str) -> str:
    """An extra's name as wheels write it.

    Https://packaging.python.org/en/latest/specifications/name-normalization/.
    """
    return re.sub(r"[-_.]+", "-", extra).lower()


def extras_in(text: str) -> list[str]:
    """Every extra of this project in a text, as in `.[fill,tracing]`.

    Also `imgedit-serving[models]`.
    """
    asked = re.findall(r"(?:\.|imgedit-serving)\[([a-zA-Z_.,-]+)\]", text)
    return [extra for group in asked for extra in group.split(",")]


def test_every_extra_is_written_as_every_pip_finds_it() -> None:
    """Names are compared literally: pip before 23.1 only warns about a mismatch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["optional-dependencies"]
    assert [extra for extra in declared if extra != normal(extra)] == []
    files = (DOCKERFILE, ROOT / "pyproject.toml", ROOT / "Makefile", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    for path in files:
        for extra in extras_in(path.read_text()):
            assert extra in declared, f"{path.name}: {extra}"


@pytest.mark.parametrize(
    "target", ["orchestrator", "segmentation", "fill", "qwen-edit", "openai-api", "studio", "models"]
)
def test_a_build_stage_fails_where_what_its_image_runs_cannot_be_imported(target: str) -> None:
    [(origin, *_)] = [line for line in words(stages()[target], "COPY") if line[0].startswith("--from")]
    installing = words(stages()[origin.removeprefix("--from=")], "RUN")
    [code] = [command[2] for command in installing if command[:2] == ["python", "-c"]]
    assert installing[-1][2] == code  # last, when the environment is as the image has it
    if target in ("segmentation", "fill", "qwen-edit"):
        assert re.match(r"import torch\b", code)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


@pytest.mark.parametrize("stage", [stage for stage in stages() if stage.startswith("build-")])
def test_a_change_of_the_code_reinstalls_no_package(stage: str) -> None:
    """Files copied before the last package installation name packages only.

    Other changes do not invalidate that layer.
    """
    instructions = lineage(stage)
    last = max(i for i, line in enumerate(instructions) if "pip install" in line)
    copied = {source for line in words(instructions[:last], "COPY") for source in line[:-1]}
    code = {"imgedit"} if stage == "build-models" else set()  # its program is the wheel itself
    assert copied == {"pyproject.toml", "constraints.txt", "LICENSE", "imgedit/__init__.py"} | code


@pytest.mark.parametrize("deployment", sorted(SETTINGS))
def test_an_image_exposes_the_ports_and_starts_the_module_of_its_service(deployment: str) -> None:
    settings = SETTINGS[deployment]
    target = deployment.removeprefix("imgedit-")
    instructions = lineage(target)
    exposed = {int(port) for line in words(instructions, "EXPOSE") for port in line}
    assert exposed == {settings.model_fields["port"].default, settings.model_fields["metrics_port"].default}
    [entry] = [
        yaml.safe_load(line.removeprefix("ENTRYPOINT ")) for line in instructions if line.startswith("ENTRYPOINT")
    ]
    assert entry == ["python", "-m", f"services.{settings.service}"]
    assert any(f":{settings.model_fields['metrics_port'].default}/readyz" in line for line in instructions)


def test_the_pages_image_exposes_its_port() -> None:
    assert words(lineage("studio"), "EXPOSE") == [[str(studio_settings.Settings().port)]]


def test_every_variable_of_the_compose_file_is_a_setting() -> None:
    compose = yaml.safe_load((ROOT / "deploy/docker/compose.yaml").read_text())
    known: dict[str, tuple[type[ServerSettings], str]] = {
        settings.variable(field): (settings, field) for settings in SETTINGS.values() for field in settings.model_fields
    }
    page = compose["services"].pop("studio")
    gallery = studio_settings.load_settings(page["environment"]).gallery
    assert page["volumes"] == [f"gallery:{gallery}"]
    assert any(f"-o 10001 -g 10001 -m 700 {gallery}" in line for line in lineage("studio"))  # a new volume's owner
    assert {"gallery", "compiled"} <= set(compose["volumes"])
    for name in ("fill", "qwen-edit"):
        [mount] = [mount for mount in compose["services"][name]["volumes"] if mount.startswith("compiled:")]
        folder = Path(mount.removeprefix("compiled:"))
        variable = SETTINGS[f"imgedit-{name}"].variable("compile_cache")
        assert folder in Path(compose["services"][name]["environment"][variable]).parents
        assert any(f"-o 10001 -g 10001 -m 700 {folder}" in line for line in lineage(name))
    for name, service in compose["services"].items():
        for variable in service.get("environment", {}):
            if variable.startswith("IMGEDIT_"):
                assert known[variable][0] is SETTINGS[f"imgedit-{name}"]


def test_every_file_that_compose_mounts_exists() -> None:
    compose = yaml.safe_load((ROOT / "deploy/docker/compose.yaml").read_text())
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("..")]
    assert files
    assert all((ROOT / "deploy" / "docker" / path).exists() for path in files)
