"""The systemd unit: its program exists, and the services' folders are writable."""

from __future__ import annotations

import shlex
from configparser import RawConfigParser
from pathlib import PurePosixPath

import typer

from imgedit.cli.main import app
from tests.deploy.kubernetes import ROOT

UNIT = ROOT / "deploy" / "systemd" / "imgedit.service"


def service() -> dict[str, str]:
    read = RawConfigParser(strict=False)
    read.optionxform = str  # type: ignore[assignment]  # as systemd has it
    read.read_string(UNIT.read_text(encoding="utf-8"))
    assert read["Install"]["WantedBy"] == "multi-user.target"
    return dict(read["Service"])


def test_the_unit_starts_the_stack_with_options_that_exist() -> None:
    program, command, *words = shlex.split(service()["ExecStart"])
    assert (PurePosixPath(program).name, command) == ("imgedit", "up")
    [up] = [found for name, found in typer.main.get_command(app).commands.items() if name == "up"]  # type: ignore[attr-defined]
    known = {name for option in up.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert "--detach" not in words, "systemd watches the process itself"


def test_the_unit_may_write_where_it_says() -> None:
    found = service()
    assert found["ProtectSystem"] == "strict"
    writable = (f"/var/lib/{found['StateDirectory']}/", f"/var/log/{found['LogsDirectory']}")
    words = shlex.split(found["ExecStart"])
    assert words[words.index("--logs") + 1].startswith(writable)
    variables = dict(word.split("=", 1) for word in shlex.split(found["Environment"]))
    assert set(variables) == {"TMPDIR", "IMGEDIT_STUDIO_GALLERY"}
    assert all(path.startswith(writable) for path in variables.values())
    assert int(found["TimeoutStopSec"]) > 10, "what `imgedit up` gives its services"


def test_the_manual_installs_this_unit() -> None:
    page = (ROOT / "docs" / "one-machine.md").read_text(encoding="utf-8")
    assert UNIT.relative_to(ROOT).as_posix() in page
