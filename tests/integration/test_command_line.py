"""The command line as a program for programs.

Exit codes, JSON, completion in each shell.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from imgedit.cli.exit_codes import MEANINGS, ExitCode
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.server import RunningServer, Service
from tests.integration.test_access import settings_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:1"
COMMANDS = (
    "edit",
    "batch",
    "experiments",
    "health",
    "status",
    "stop",
    "doctor",
    "inspect",
    "up",
    "models",
    "catalogue",
    "tokens",
)


def environment(**further: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGEDIT_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**clean, "LANG": "C.UTF-8", "COLUMNS": "400", "PATH": path, **further}


def imgedit(*arguments: str, **further: str) -> subprocess.CompletedProcess[str]:
    command = ["imgedit", *arguments]
    return subprocess.run(command, env=environment(**further), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def test_the_help_tells_every_exit_code() -> None:
    shown = " ".join(imgedit("--help", COLUMNS="80").stdout.split())
    assert all(f"{code.value} {meaning}" in shown for code, meaning in MEANINGS.items())


def test_the_manual_tells_every_exit_code() -> None:
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    assert all(f"| {code.value} | {meaning} |" in text for code, meaning in MEANINGS.items())


def test_a_request_at_fault_ends_with_1_and_a_wrong_option_with_2(photo: Path, tmp_path: Path) -> None:
    edit = ("edit", str(photo), "-e", "x", "-p", "y")
    assert imgedit("edit", str(tmp_path / "none.png"), "-e", "x").returncode == ExitCode.FAILED
    assert imgedit(*edit, "-o", "out.tiff").returncode == ExitCode.FAILED
    assert imgedit(*edit, "--no-such-option").returncode == ExitCode.USAGE
    assert imgedit(*edit, "--quality", "101").returncode == ExitCode.USAGE
    assert imgedit("no-such-command").returncode == ExitCode.USAGE
    assert imgedit("edit", "--help").returncode == ExitCode.DONE


def test_a_package_called_services_in_the_working_directory_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise SystemExit('a stranger runs')\n")
    command = ["imgedit", "catalogue", "schema"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert json.loads(done.stdout)["properties"]


def test_without_a_server_every_command_ends_with_4(photo: Path, tmp_path: Path) -> None:
    options = ("--target", NOBODY, "--timeout", "3", "-e", "x", "-p", "y")
    assert imgedit("edit", str(photo), *options).returncode == ExitCode.TRY_LATER
    assert imgedit("batch", str(tmp_path), "--out", str(tmp_path / "out"), *options).returncode == ExitCode.TRY_LATER
    assert imgedit("experiments", "--target", NOBODY).returncode == ExitCode.TRY_LATER
    assert imgedit("health", "--target", NOBODY).returncode == ExitCode.TRY_LATER


def test_with_json_an_error_is_one_object_too(photo: Path, tmp_path: Path) -> None:
    nobody = imgedit("edit", str(photo), "-e", "x", "-p", "y", "--target", NOBODY, "--timeout", "3", "--json")
    error = json.loads(nobody.stdout)["error"]
    assert (error["code"], error["reason"]) == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert NOBODY in error["message"]
    assert error["korean"]
    missing = imgedit("edit", str(tmp_path / "none.png"), "-e", "x", "--json")
    assert "none.png" in json.loads(missing.stdout)["error"]["message"]


class Endless(edit_pb2_grpc.EditServiceServicer):
    """Works on an edit forever, and records when the caller has left."""

    def __init__(self) -> None:
        self.has_begun, self.was_left = asyncio.Event(), asyncio.Event()

    async def EditStream(self, request: edit_pb2.EditRequest, context: object) -> AsyncIterator[edit_pb2.EditEvent]:
        yield edit_pb2.EditEvent(stage=edit_pb2.StageStarted(name="fill", index=1, count=1))
        self.has_begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.was_left.set()


async def test_ctrl_c_cancels_the_edit_and_ends_with_130(photo: Path) -> None:
    servicer = Endless()

    def register(server: object) -> None:
        edit_pb2_grpc.add_EditServiceServicer_to_server(servicer, server)  # type: ignore[arg-type]

    server = RunningServer(Service(("imgedit.v1.EditService",), register), settings_of())
    await server.start()
    try:
        options = ("-e", "x", "-p", "y", "--target", f"127.0.0.1:{server.port}", "--json")
        running = await asyncio.create_subprocess_exec(
            "imgedit",
            "edit",
            str(photo),
            *options,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await asyncio.wait_for(servicer.has_begun.wait(), 30)
        running.send_signal(signal.SIGINT)
        printed, said = await asyncio.wait_for(running.communicate(), 30)
        assert running.returncode == ExitCode.INTERRUPTED
        assert (json.loads(printed), said) == ({"error": {"message": "ended by Ctrl-C"}}, b"")
        await asyncio.wait_for(servicer.was_left.wait(), 10)
    finally:
        await server.drain()


def test_ctrl_c_while_the_commands_are_loaded_ends_without_a_word(tmp_path: Path) -> None:
    """A stub replaces a needed package: it reports its import and never ends it."""
    (tmp_path / "typer.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(600)\n")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    running = subprocess.Popen(
        [sys.executable, "-m", "imgedit.cli", "experiments"],
        env=environment(PYTHONPATH=paths),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"loading\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60) == (b"", b"")
    assert running.returncode == ExitCode.INTERRUPTED


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_offered_a_script_and_every_command(shell: str) -> None:
    script = imgedit(_IMGEDIT_COMPLETE=f"source_{shell}").stdout
    assert "_IMGEDIT_COMPLETE" in script
    line = {"_TYPER_COMPLETE_ARGS": "imgedit ", "COMP_WORDS": "imgedit ", "COMP_CWORD": "1"}
    offered = imgedit(**line, _IMGEDIT_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args").stdout
    assert all(re.search(rf"\b{command}\b", offered) for command in COMMANDS), offered


def test_bash_completes_commands_options_and_choices() -> None:
    def offered(line: str) -> set[str]:
        words = line.split(" ")
        code = f"""source <(_IMGEDIT_COMPLETE=source_bash imgedit)
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
            _imgedit_completion imgedit; printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(
            ["bash", "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True
        )
        return set(done.stdout.split())

    assert {"edit", "experiments"} == offered("imgedit e")
    assert {"--mask", "--mask-grow", "--mask-feather"} <= offered("imgedit edit --mas")
    assert {"fast", "balanced", "high"} == offered("imgedit edit --profile ")
    assert {"pull"} == offered("imgedit models pu")
