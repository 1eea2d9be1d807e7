"""`imgedit models` against a hub on loopback.

Real downloads of tiny files, real faults.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants
from typer.testing import CliRunner, Result

from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.main import app
from tests.integration.hub import Hub, Repo, running_hub

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

WEIGHTS = bytes(range(256)) * 40
CONFIG = b'{"image_size": 256}\n'
BEN2_FILES = {
    "model.safetensors": WEIGHTS,
    "config.json": CONFIG,
    "BEN2.py": b"print('code')\n",
    "BEN2_Base.pth": b"a pickle",
    "README.md": b"# BEN2\n",
}
PARTS = ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae")
FLUX_FILES = {
    "model_index.json": b"{}",
    "flux1-fill-dev.safetensors": b"the whole model once more",
    **{f"{part}/config.json": part.encode() for part in PARTS},
    "transformer/diffusion_pytorch_model.safetensors": b"transformer",
    "transformer/diffusion_pytorch_model.safetensors.index.json": b"{} ",
    "tokenizer/merges.txt": b"a b\n",
    "tokenizer_2/spiece.model": b"pieces",
    "vae/pipeline.py": b"print('code')\n",
}
GGUF_FILES = {"flux1-fill-dev-Q8_0.gguf": b"GGUF-Q8", "flux1-fill-dev-Q4_K_S.gguf": b"GGUF-Q4"}

Run = Callable[..., Result]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        hub.repos["PramaLLC/BEN2"] = Repo(dict(BEN2_FILES))
        hub.repos["black-forest-labs/FLUX.1-Fill-dev"] = Repo(dict(FLUX_FILES), gated=True)
        hub.repos["YarvixPA/FLUX.1-Fill-dev-GGUF"] = Repo(dict(GGUF_FILES), commit="3" * 40)
        yield hub


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The library as installed, but with chunks short enough for tiny files."""

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "IMGEDIT_MODELS", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    yield
    close_session()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def run(hub: Hub, models: Path) -> Run:
    """Run `imgedit models …` against the hub.

    Checks that no command ends in a traceback.
    """

    def run(*arguments: str) -> Result:
        environment = {"HF_ENDPOINT": hub.address, "IMGEDIT_MODELS": str(models), "COLUMNS": "200"}
        result = CliRunner().invoke(app, ["models", *arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def lock_in(models: Path) -> dict[str, Any]:
    locked: dict[str, Any] = json.loads((models / "models.lock").read_text())["models"]
    return locked


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_pull_brings_the_weights_and_the_configuration_and_no_code(run: Run, models: Path) -> None:
    result = run("pull", "ben2")
    assert result.exit_code == 0, result.output
    assert files_in(models) == {"BEN2/model.safetensors", "BEN2/config.json", "models.lock"}
    assert (models / "BEN2/model.safetensors").read_bytes() == WEIGHTS
    assert "MIT" in result.output.splitlines()[0]


def test_pull_records_commit_sizes_and_checksums_and_where_each_checksum_comes_from(
    run: Run, hub: Hub, models: Path
) -> None:
    run("pull", "ben2")
    assert lock_in(models) == {
        "ben2": {
            "folder": "BEN2",
            "hub": hub.address,
            "licence": "MIT",
            "repo": "PramaLLC/BEN2",
            "revision": "1" * 40,
            "files": {
                "config.json": {
                    "git_sha1": hashlib.sha1(b"blob 20\0" + CONFIG).hexdigest(),
                    "sha256": hashlib.sha256(CONFIG).hexdigest(),
                    "sha256_from": "computed",
                    "size": 20,
                },
                "model.safetensors": {
                    "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
                    "sha256_from": "hub",
                    "size": len(WEIGHTS),
                },
            },
        }
    }


def test_pulling_again_transfers_nothing_and_writes_the_same_record(run: Run, hub: Hub, models: Path) -> None:
    run("pull", "ben2")
    before = (models / "models.lock").read_bytes()
    hub.transfers.clear()
    result = run("pull", "ben2")
    assert result.exit_code == 0
    assert result.output.count("already there") == 2
    assert hub.transfers == []
    assert (models / "models.lock").read_bytes() == before


def test_weights_that_were_copied_by_hand_are_checked_and_not_transferred(run: Run, hub: Hub, models: Path) -> None:
    (models / "BEN2").mkdir(parents=True)
    (models / "BEN2/model.safetensors").write_bytes(WEIGHTS)
    result = run("pull", "ben2")
    assert "model.safetensors: already there" in result.output
    assert "config.json: 1 of 1, 20 bytes" in result.output
    assert hub.served == ["config.json"]
    assert run("verify").exit_code == 0


def test_a_connection_that_is_cut_once_is_resumed_where_it_ended(run: Run, hub: Hub, models: Path) -> None:
    hub.faults["model.safetensors"] = ["cut"]
    assert run("pull", "ben2").exit_code == 0
    starts = [transfer.start for transfer in hub.transfers if transfer.path == "model.safetensors"]
    assert starts == [None, len(WEIGHTS) // 2]
    assert (models / "BEN2/model.safetensors").read_bytes() == WEIGHTS


def test_a_pull_that_failed_half_way_is_continued_by_the_next_one(run: Run, hub: Hub, models: Path) -> None:
    hub.faults["model.safetensors"] = ["reset"]
    failed = run("pull", "ben2")
    assert failed.exit_code == ExitCode.TRY_LATER
    assert "pull again to continue" in failed.output
    assert not (models / "BEN2/model.safetensors").exists()
    hub.transfers.clear()
    assert run("pull", "ben2").exit_code == 0
    assert [(transfer.path, transfer.start) for transfer in hub.transfers] == [("model.safetensors", len(WEIGHTS) // 2)]
    assert (models / "BEN2/model.safetensors").read_bytes() == WEIGHTS


def test_an_unfinished_file_that_is_longer_than_the_whole_is_begun_anew(run: Run, hub: Hub, models: Path) -> None:
    (models / ".incomplete").mkdir(parents=True)
    (models / ".incomplete" / hashlib.sha256(WEIGHTS).hexdigest()).write_bytes(WEIGHTS + b"more")
    assert run("pull", "ben2").exit_code == 0
    assert [transfer.start for transfer in hub.transfers] == [None, None]
    assert (models / "BEN2/model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(("file", "digest"), [("model.safetensors", "SHA-256"), ("config.json", "git blob id")])
def test_bytes_that_are_not_the_hubs_are_refused_by_name_and_deleted(
    run: Run, hub: Hub, models: Path, file: str, digest: str
) -> None:
    hub.wrong_bytes.add(file)
    result = run("pull", "ben2")
    assert result.exit_code == 1
    assert f"{file} of PramaLLC/BEN2: the downloaded bytes have the {digest}" in result.output
    assert not files_in(models) & {f"BEN2/{file}", "models.lock"}
    hub.wrong_bytes.clear()
    assert run("pull", "ben2").exit_code == 0


def test_a_file_that_was_changed_is_found_by_verify_and_restored_by_pull(run: Run, models: Path) -> None:
    run("pull", "ben2")
    (models / "BEN2/model.safetensors").write_bytes(b"\x01" + WEIGHTS[1:])
    (models / "BEN2/config.json").unlink()
    result = run("verify")
    assert result.exit_code == 1
    assert result.output.startswith("MISSING  BEN2/config.json\nCHANGED  BEN2/model.safetensors")
    assert run("pull", "ben2").exit_code == 0
    assert run("verify").exit_code == 0


def test_verify_names_files_that_were_not_pulled_and_could_be_loaded(run: Run, models: Path) -> None:
    run("pull", "ben2")
    (models / "BEN2/README.md").write_text("harmless")
    assert run("verify").exit_code == 0
    (models / "BEN2/model.py").write_text("print('code')")
    (models / "BEN2/other.safetensors").write_bytes(b"weights")
    result = run("verify")
    assert result.exit_code == 1
    assert "EXTRA    BEN2/model.py  can carry code" in result.output
    assert "EXTRA    BEN2/other.safetensors  not in models.lock" in result.output


def test_verify_works_without_a_hub_and_without_the_library(run: Run, models: Path) -> None:
    run("pull", "ben2")
    code = "import sys; sys.modules['huggingface_hub'] = None; from imgedit.cli.main import app; app()"
    for command, status in (("verify", 0), ("pull ben2", 1)):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, "models", *command.split(), "--models", str(models)],
            env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert "in a checkout: pip install -e '.[models]'" in done.stderr


@pytest.mark.parametrize(("options", "shown"), [((), True), (("--quiet",), False)])
def test_a_terminal_shows_how_far_the_download_is(
    hub: Hub, models: Path, options: tuple[str, ...], shown: bool
) -> None:
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    done = subprocess.run(
        [sys.executable, "-m", "imgedit.cli", "models", "pull", "ben2", "--models", str(models), *options],
        env={**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"},
        cwd=ROOT,
        stdout=end,
        stderr=end,
        timeout=60,
    )
    os.close(end)
    output = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert done.returncode == 0, output
    assert ("model.safetensors: 100%|" in output) == shown


def test_verify_says_when_there_is_nothing_to_compare_with(run: Run, models: Path) -> None:
    models.mkdir()
    result = run("verify")
    assert result.exit_code == 1
    assert "has no models.lock" in result.output


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": 1}', '{"format": 1, "models": {"ben2": {}}}', '{"format": 2}']
)
def test_a_damaged_lock_is_named(run: Run, models: Path, content: str) -> None:
    models.mkdir()
    (models / "models.lock").write_text(content)
    result = run("verify")
    assert result.exit_code == 1
    assert "models.lock" in result.output


def test_a_gated_model_without_a_token_says_what_to_accept_and_set(run: Run, hub: Hub) -> None:
    result = run("pull", "flux-fill")
    assert result.exit_code == 1
    assert "no commercial use" in result.output.splitlines()[0]
    assert f"accept its licence on {hub.address}/black-forest-labs/FLUX.1-Fill-dev" in result.output
    assert "HF_TOKEN" in result.output


def test_flux_comes_as_a_diffusers_folder_and_the_token_stays_with_the_hub(
    run: Run, hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    result = run("pull", "flux-fill", "--send-token")
    assert result.exit_code == 0, result.output
    unwanted = {"flux1-fill-dev.safetensors", "vae/pipeline.py"}
    assert files_in(models / "FLUX.1-Fill-dev") == FLUX_FILES.keys() - unwanted
    redirected = [transfer for transfer in hub.transfers if transfer.path.endswith((".safetensors", ".model"))]
    assert redirected
    assert {transfer.authorization for transfer in redirected} == {None}
    assert run("verify").exit_code == 0


def test_with_a_gguf_file_the_weights_of_the_transformer_are_left_out(
    run: Run, hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    result = run("pull", "flux-fill", "--send-token", "--gguf", "flux1-fill-dev-Q8_0.gguf")
    assert result.exit_code == 0, result.output
    assert "IMGEDIT_FILL_GGUF=flux1-fill-dev-Q8_0.gguf" in result.output
    assert (models / "flux1-fill-dev-Q8_0.gguf").read_bytes() == b"GGUF-Q8"
    assert {path for path in files_in(models / "FLUX.1-Fill-dev") if path.startswith("transformer/")} == {
        "transformer/config.json"
    }
    assert lock_in(models)["flux-fill-gguf"]["revision"] == "3" * 40
    assert run("pull", "flux-fill", "--send-token", "--gguf", "flux1-fill-dev-Q4_K_S.gguf").exit_code == 0
    assert run("pull", "flux-fill", "--send-token").exit_code == 0
    assert run("verify").output.count("OK ") == len(FLUX_FILES) - 2 + 2


def test_small_files_come_without_any_weights(
    run: Run, hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    result = run("pull", "flux-fill", "--send-token", "--small")
    assert result.exit_code == 0, result.output
    small = {"model_index.json", "tokenizer/merges.txt", "tokenizer_2/spiece.model"}
    assert files_in(models / "FLUX.1-Fill-dev") == small | {f"{part}/config.json" for part in PARTS}


def test_small_goes_with_models_that_have_small_files(run: Run) -> None:
    result = run("pull", "ben2", "--small")
    assert result.exit_code == 2
    assert "--small goes with flux-fill" in result.output


def test_a_gguf_file_that_is_not_there_is_answered_with_those_that_are(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    result = run("pull", "flux-fill", "--send-token", "--gguf", "Q9.gguf")
    assert result.exit_code == 1
    assert "flux1-fill-dev-Q4_K_S.gguf, flux1-fill-dev-Q8_0.gguf" in result.output


def test_all_pulls_every_model_up_to_the_one_that_fails(run: Run, hub: Hub, models: Path) -> None:
    hub.repos["Qwen/Qwen-Image-Edit-2509"] = Repo(
        {"model_index.json": b"{}", "processor/chat_template.jinja": b"{{ x }}"}
    )
    result = run("pull", "all")
    assert result.exit_code == 1
    assert list(lock_in(models)) == ["ben2", "qwen-image-edit"]
    assert files_in(models / "Qwen-Image-Edit-2509") == {"model_index.json", "processor/chat_template.jinja"}


def test_the_loras_of_profile_fast_come_by_name_and_go_where_the_printed_settings_look(
    run: Run, hub: Hub, models: Path
) -> None:
    eight_steps = "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-8steps-V1.0-bf16.safetensors"
    four_steps = eight_steps.replace("8steps", "4steps")
    hub.repos["lightx2v/Qwen-Image-Lightning"] = Repo({eight_steps: b"a" * 64, four_steps: b"b" * 64})
    hub.repos["alimama-creative/FLUX.1-Turbo-Alpha"] = Repo(
        {"diffusion_pytorch_model.safetensors": b"c" * 64, "images/1.png": b"d"}
    )
    result = run("pull", "qwen-lightning-lora", "flux-turbo-lora")
    assert result.exit_code == 0, result.output
    printed = dict(re.findall(r"use it with (IMGEDIT_\w+_LORA_FAST)=(\S+)", result.output))
    assert set(printed) == {"IMGEDIT_QWEN_EDIT_LORA_FAST", "IMGEDIT_FILL_LORA_FAST"}
    assert files_in(models) == {"models.lock", *printed.values()}
    assert run("verify").exit_code == 0


def test_a_path_of_the_listing_that_leads_out_of_the_folder_is_not_written(run: Run, hub: Hub, models: Path) -> None:
    hub.repos["me/BEN2"] = Repo({"model_index.json": b"{}", "vae/../../../evil.json": b"{}", "vae/config.json": b"{}"})
    assert run("pull", "qwen-image-edit", "--repo", "me/BEN2").exit_code == 0
    assert files_in(models.parent) == {
        "models/models.lock",
        "models/Qwen-Image-Edit-2509/model_index.json",
        "models/Qwen-Image-Edit-2509/vae/config.json",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--repo", "nobody/nothing"), "has no such file or repository in nobody/nothing (404); check --repo"),
        (("--repo", "a/b/c"), "expected OWNER/NAME"),
        (("--revision", "v9"), "has no revision v9"),
        (("--repo", "YarvixPA/FLUX.1-Fill-dev-GGUF"), "has no model.safetensors"),
    ],
)
def test_a_wrong_address_is_named(run: Run, arguments: tuple[str, ...], words: str) -> None:
    result = run("pull", "ben2", *arguments)
    assert result.exit_code == 1
    assert words in result.output


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "set HF_TOKEN"),
        (403, "read access"),
        (429, "wait some minutes"),
        (500, "HTTP status 500"),
        (200, "does not answer as a Hugging Face hub"),
    ],
)
def test_a_refusal_of_the_hub_is_explained(run: Run, hub: Hub, status: int, words: str) -> None:
    hub.status = status
    result = run("pull", "ben2")
    assert result.exit_code == (ExitCode.TRY_LATER if status in (429, 500) else ExitCode.FAILED)
    assert words in result.output


def test_an_unreachable_hub_is_named_with_the_way_without_internet(run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = run("pull", "ben2", "--endpoint", address)
    assert result.exit_code == ExitCode.TRY_LATER
    assert f"cannot reach {address}" in result.output
    assert "copy the model's folder and models.lock by hand" in result.output


def test_offline_mode_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = run("pull", "ben2")
    assert result.exit_code == 1
    assert "HF_HUB_OFFLINE is set" in result.output


def test_a_disk_that_is_too_small_is_named_before_anything_is_transferred(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5000}))
    result = run("pull", "ben2")
    assert result.exit_code == 1
    assert "5.0 kB free, 10.3 kB are needed" in result.output
    assert hub.transfers == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("all", "--repo", "me/mine"),
        ("ben2", "--gguf", "x.gguf"),
        ("all", "--revision", "v1"),
        ("sd",),
        ("ben2", "flux-fill", "--repo", "me/mine"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("pull", *arguments).exit_code == 2


def test_list_shows_licences_and_what_is_there(run: Run, models: Path) -> None:
    run("pull", "ben2")
    (models / "Qwen-Image-Edit-2509").mkdir()
    rows = {line.split("│")[1].strip(): line for line in run("list").output.splitlines() if line.startswith("│")}
    assert "10.3 kB, commit 111111111111" in rows["ben2"]
    assert "not in models.lock" in rows["qwen-image-edit"]
    assert "(gated)" in rows["flux-fill"]
    assert "no commercial use" in rows["flux-fill"]


def test_with_json_list_and_verify_print_one_object(run: Run, models: Path) -> None:
    models.mkdir()
    assert "models.lock" in json.loads(run("verify", "--json").stdout)["error"]["message"]
    run("pull", "ben2")
    listed = {model["name"]: model for model in json.loads(run("list", "--json").stdout)["models"]}
    assert listed["ben2"]["licence"] == "MIT"
    assert listed["ben2"]["folder"] == str(models / "BEN2")
    assert listed["ben2"]["bytes"] > 0
    assert (listed["flux-fill"]["gated"], listed["flux-fill"]["folder"]) == (True, None)
    assert "no commercial use" in listed["flux-fill"]["licence"]
    whole = run("verify", "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["ok"]) == (0, True)
    (models / "BEN2" / "model.safetensors").write_bytes(b"changed")
    changed = run("verify", "--json")
    answer = json.loads(changed.stdout)
    assert (changed.exit_code, answer["ok"]) == (1, False)
    assert {file["path"]: file["state"] for file in answer["files"]} == {
        "BEN2/model.safetensors": "CHANGED",
        "BEN2/config.json": "OK",
    }


def test_list_without_a_folder_shows_what_can_be_pulled(hub: Hub) -> None:
    result = CliRunner().invoke(app, ["models", "list"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Qwen/Qwen-Image-Edit-2509" in result.output


def test_two_pulls_into_one_folder_do_not_run_at_once(run: Run, hub: Hub, models: Path) -> None:
    models.mkdir()
    handle = os.open(models, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    result = run("pull", "ben2")
    os.close(handle)
    assert result.exit_code == 1
    assert "another pull" in result.output
    assert run("pull", "ben2").exit_code == 0


def test_a_pulled_ben2_is_loaded_by_the_segmentation_service(run: Run, hub: Hub, models: Path, tmp_path: Path) -> None:
    from demo.tiny import ben2 as tiny
    from services.segmentation.ben2 import load

    tiny.build(tmp_path, seed=1)
    published = {path: (tmp_path / path).read_bytes() for path in ("model.safetensors", "config.json", "README.md")}
    hub.repos["me/tiny"] = Repo({**published, "BEN2.py": b"print('code')\n"})
    assert run("pull", "ben2", "--repo", "me/tiny").exit_code == 0
    assert load(models / "BEN2").config == tiny.CONFIG
