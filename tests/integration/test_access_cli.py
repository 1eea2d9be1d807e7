"""Credentials at the command line.

Tokens made, shown to a server, and kept out of the list of processes.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from imgedit import tokens
from services.common.credentials import read_credentials
from tests.integration.authority import Authority
from tests.integration.test_access import serving, tls, token_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def imgedit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGEDIT_")}
    command = [sys.executable, "-m", "imgedit.cli", *arguments]
    environment = {**clean, "LANG": "C.UTF-8", "COLUMNS": "200", **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_a_made_token_is_printed_once_and_its_line_fits_the_file(tmp_path: Path) -> None:
    token, line = imgedit("tokens", "new", "--name", "studio", "--scope", "list", "--scope", "edit").stdout.splitlines()
    [credential] = read_credentials([line], "here")
    assert credential == tokens.Credential("studio", tokens.digest(token), frozenset({"edit", "list"}))
    path = tmp_path / "tokens"
    for name in ("studio", "shop"):
        made = imgedit("tokens", "new", "--name", name, "--scope", "edit", "--append", str(path))
        assert len(made.stdout.splitlines()) == 1
        assert made.stdout.strip() not in path.read_text()
    assert [c.name for c in read_credentials(path.read_text().splitlines(), "here")] == ["studio", "shop"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_is_appended_after_a_line_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("# callers")
    imgedit("tokens", "new", "--name", "studio", "--scope", "admin", "--append", str(path))
    assert path.read_text().startswith("# callers\nstudio sha256:")


def test_a_token_that_cannot_be_is_refused() -> None:
    for arguments, fault in (
        (("--name", "a b", "--scope", "edit"), "the name 'a b'"),
        (("--name", "a", "--scope", "root"), "'root' is not"),
        (("--name", "a", "--scope", "edit", "--append", "/no/such/folder/tokens"), "No such file"),
    ):
        ended = imgedit("tokens", "new", *arguments)
        assert ended.returncode == 1
        assert fault in ended.stderr
        assert not ended.stdout


async def test_commands_show_a_token_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "company")
    path, [token] = token_file(tmp_path, ("studio", ["list"]))
    secret = tmp_path / "my-token"
    secret.write_text(f"{token}\n")
    async with serving(**tls(authority.issue("server")), tokens_file=str(path)) as address:
        reach = ("experiments", "--target", address, "--tls-ca", str(authority.certificate))

        async def run(*arguments: str, **environment: str) -> tuple[int, str]:
            ended = await asyncio.to_thread(imgedit, *reach, *arguments, **environment)
            return ended.returncode, ended.stderr

        assert await run(IMGEDIT_TOKEN=token) == (0, "")
        assert await run("--token-file", str(secret)) == (0, "")
        code, said = await run()
        assert (code, "UNAUTHENTICATED" in said) == (1, True)
        code, said = await run(IMGEDIT_TOKEN="x" * 40)
        assert (code, "UNAUTHENTICATED" in said) == (1, True)
        code, said = await run("--token-file", str(tmp_path / "none"))
        assert (code, "cannot be read" in said) == (1, True)
        code, said = await run("--token", token)
        assert (code, "No such option" in said) == (2, True)


def test_a_command_sends_no_token_in_clear_to_another_machine() -> None:
    ended = imgedit("experiments", "--target", "edit.example.com:50051", IMGEDIT_TOKEN="secret")
    assert ended.returncode == 1
    assert "without TLS" in ended.stderr
    assert "secret" not in ended.stderr
