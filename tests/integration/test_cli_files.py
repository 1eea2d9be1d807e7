"""Files and addresses of the command line.

Pipes, existing files, inputs, folders, and the server that it calls.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from imgedit import EditClient, SyncEditClient
from imgedit.addresses import check_target
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.main import app
from imgedit.errors import InvalidArgument, NotFound, SettingsError, Violation
from imgedit.v1 import edit_pb2
from tests.integration.edit_server import RESULT, EditServer, edit_server

ASKED = ("-e", "x", "-p", "y")


@pytest.fixture(scope="module")
def shared() -> Iterator[EditServer]:
    with edit_server() as server:
        yield server


@pytest.fixture
def server(shared: EditServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EditServer:
    """The server, with the pictures' folder as working directory."""
    shared.seen.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.integration.test_cli_files.TARGET", shared.address)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photo.png")
    return shared


TARGET = ""


def imgedit(*arguments: object, input: bytes | None = None, **environment: str) -> Result:
    variables = {"IMGEDIT_TARGET": TARGET, "LANG": "C.UTF-8", "COLUMNS": "200", **environment}
    return CliRunner().invoke(app, [str(word) for word in arguments], input=input, env=variables)


def test_a_picture_goes_through_a_pipe(server: EditServer, tmp_path: Path) -> None:
    photo = (tmp_path / "photo.png").read_bytes()
    done = imgedit("edit", "-", *ASKED, input=photo)
    assert (done.exit_code, done.stdout_bytes) == (0, RESULT)
    assert imgedit("edit", "photo.png", *ASKED, "-o", "-", "--format", "webp").stdout_bytes == RESULT
    assert [request.input_image for request in server.seen] == [photo, photo]
    assert server.seen[1].output.format == 3
    assert imgedit("edit", "-", *ASKED, "-o", "named.png", input=photo).stdout == "named.png\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named.png", "photo.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-", *ASKED), "no picture came from standard input"),
        (("photo.png", *ASKED, "-o", "-", "--json"), "--json and a result on standard output"),
        (("photo.png", *ASKED, "-o", "x.png", "--format", "png"), "--format is for a result on standard output"),
    ],
    ids=["no picture", "two outputs", "two formats"],
)
def test_a_pipe_that_cannot_be_is_refused_before_the_edit(
    server: EditServer, arguments: tuple[str, ...], said: str
) -> None:
    done = imgedit("edit", *arguments, input=b"")
    assert done.exit_code in (ExitCode.FAILED, ExitCode.USAGE)
    assert said in done.stderr
    assert server.seen == []


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["plain", "forced"])
@pytest.mark.parametrize("name", ["photo.png", "link.png", "hard.png", "mask.png", "reference.png"])
def test_an_input_is_never_written_over(server: EditServer, tmp_path: Path, name: str, force: tuple[str, ...]) -> None:
    for other in ("mask.png", "reference.png"):
        (tmp_path / other).write_bytes(b"input")
    (tmp_path / "link.png").symlink_to("photo.png")
    (tmp_path / "hard.png").hardlink_to("photo.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    inputs = ("--mask", "mask.png", "--reference", "reference.png")
    for option in ("--output", "--cutout", "--mask-output"):
        done = imgedit("edit", "photo.png", *ASKED, *inputs, option, name, *force)
        assert done.exit_code == ExitCode.USAGE
        assert f"{name} is an input of this command" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert server.seen == []


def test_without_a_terminal_a_file_that_is_there_is_kept_unless_forced(server: EditServer, tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"mine")
    for option in ("-o", "--cutout", "--mask-output"):
        done = imgedit("edit", "photo.png", *ASKED, option, "there.png", "--json")
        assert done.exit_code == ExitCode.USAGE
        assert "there.png is there already; --force" in json.loads(done.stdout)["error"]["message"]
    assert (server.seen, (tmp_path / "there.png").read_bytes()) == ([], b"mine")
    assert imgedit("edit", "photo.png", *ASKED, "-o", "there.png", "--force").exit_code == 0
    assert (tmp_path / "there.png").read_bytes() == RESULT


def test_a_result_without_a_name_takes_a_free_one(server: EditServer, tmp_path: Path) -> None:
    names = [imgedit("edit", "photo.png", *ASKED).stdout.strip() for _ in range(3)]
    assert names == ["photo.edited.png", "photo.edited-2.png", "photo.edited-3.png"]
    assert all((tmp_path / name).read_bytes() == RESULT for name in names)


@pytest.mark.parametrize(("answer", "code", "kept"), [(b"n\n", ExitCode.USAGE, True), (b"y\n", ExitCode.DONE, False)])
def test_at_a_terminal_a_file_is_written_over_after_a_yes(
    server: EditServer, tmp_path: Path, answer: bytes, code: ExitCode, kept: bool
) -> None:
    (tmp_path / "there.png").write_bytes(b"mine")
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "imgedit.cli", "edit", "photo.png", *ASKED, "-o", "there.png", "-q"]
    os.write(terminal, answer)
    done = subprocess.run(
        command,
        env={**os.environ, "IMGEDIT_TARGET": server.address, "LANG": "C.UTF-8", "TERM": "dumb"},
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        timeout=120,
    )
    assert done.returncode == code
    assert ((tmp_path / "there.png").read_bytes() == b"mine") == kept
    assert bool(server.seen) != kept
    os.close(terminal)
    os.close(end)


def test_a_folder_hints_at_the_command_for_folders(server: EditServer, tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    done = imgedit("edit", "my photos", *ASKED)
    assert done.exit_code == ExitCode.FAILED
    assert "`imgedit batch 'my photos' --out DIR` edits every picture in it" in done.stderr
    assert "폴더입니다" in imgedit("edit", ".", *ASKED, "--lang", "ko").stderr
    assert server.seen == []


def test_a_batch_keeps_files_that_it_did_not_make(server: EditServer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / f"{name}.jpg")
        (tmp_path / "out" / f"{name}.png").write_bytes(b"mine")
    batch = ("batch", "in", "--out", "out", *ASKED)
    done = imgedit(*batch, "--json")
    assert done.exit_code == ExitCode.USAGE
    assert "a.png and 1 more are there already" in json.loads(done.stdout)["error"]["message"]
    assert server.seen == []
    assert imgedit(*batch, "--force").exit_code == 0
    assert imgedit(*batch, "-p", "another").exit_code == 0, "its own results are its own to replace"
    assert len(server.seen) == 4


def test_a_batch_makes_several_results_of_each_picture(server: EditServer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / f"{name}.jpg")
    batch = ("batch", "in", "--out", "out", *ASKED)
    assert imgedit(*batch).exit_code == 0
    (tmp_path / "out" / "b-2.png").write_bytes(b"mine")
    done = imgedit(*batch, "--n", "2", "--json")
    assert done.exit_code == ExitCode.USAGE
    assert "b-2.png is there already" in json.loads(done.stdout)["error"]["message"]
    assert imgedit(*batch, "--n", "2", "--force").exit_code == 0
    assert [request.n for request in server.seen[2:]] == [2, 2]
    for name in ("a", "b"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes() == RESULT
        assert (tmp_path / "out" / f"{name}-2.png").read_bytes() == RESULT + b"1"
    assert json.loads(imgedit(*batch, "--n", "2", "--json").stdout)["skipped"] == 2
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "a-2.jpg")
    refused = imgedit(*batch, "--n", "2", LANG="ko_KR.UTF-8")
    assert refused.exit_code == ExitCode.USAGE
    assert "둘 중 한 이미지의 이름을 바꾸세요" in refused.stderr
    assert imgedit(*batch, "--n", "5").exit_code == ExitCode.USAGE


def test_a_batch_never_writes_over_its_masks(server: EditServer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "a.jpg")
    (tmp_path / "masks" / "a.png").write_bytes(b"mask")
    done = imgedit("batch", "in", "--out", "masks", "--masks", "masks", *ASKED, "--force")
    assert done.exit_code == ExitCode.USAGE
    assert "a.png is an input of this command" in done.stderr
    assert (tmp_path / "masks" / "a.png").read_bytes() == b"mask"


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_folder_of_models_that_is_not_there_is_named(server: EditServer, command: str) -> None:
    done = imgedit("models", command, "--models", "/no/such/folder")
    assert (done.exit_code, "--models: there is no folder /no/such/folder" in done.stderr) == (ExitCode.FAILED, True)


@pytest.mark.parametrize("name", ["n" * 300, "photo.png/below"], ids=["too long", "below a file"])
def test_a_name_that_no_file_can_have_is_a_missing_file(server: EditServer, name: str) -> None:
    for command in (("edit", name, *ASKED), ("inspect", name), ("batch", name, "--out", "out", *ASKED)):
        done = imgedit(*command)
        assert (done.exit_code, "there is no" in done.stderr) == (ExitCode.FAILED, True)


def test_a_missing_file_is_told_alike_by_every_command(server: EditServer) -> None:
    for command in (("edit", "none.png", *ASKED), ("inspect", "none.png")):
        done = imgedit(*command, "--json")
        assert done.exit_code == ExitCode.FAILED
        assert json.loads(done.stdout) == {"error": {"message": "there is no file none.png"}}


@pytest.mark.parametrize(
    "arguments",
    [
        ("edit", "photo.png", "--json"),
        ("edit", "photo.png", *ASKED, "--no-such", "--json"),
        ("edit", "photo.png", *ASKED, "--quality", "101", "--json"),
        ("edit", "photo.png", *ASKED, "--target", "http://127.0.0.1:1", "--json"),
        ("experiments", "--token-file", "/no/such/file", "--json"),
        ("no-such-command", "--json"),
        ("health", "--wait", "x", "--json"),
    ],
    ids=" ".join,
)
def test_with_json_whatever_is_wrong_is_one_object(server: EditServer, arguments: tuple[str, ...]) -> None:
    done = imgedit(*arguments)
    assert done.exit_code in (ExitCode.FAILED, ExitCode.USAGE)
    assert json.loads(done.stdout)["error"]["message"]


def test_a_server_is_named_in_one_way_by_commands_and_clients(
    server: EditServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (("health",), ("experiments",), ("edit", "photo.png", *ASKED)):
        assert imgedit(*command).exit_code == 0
        assert imgedit(*command, "--target", "127.0.0.1:1", "--token-file", "/none").exit_code == ExitCode.FAILED
    monkeypatch.setenv("IMGEDIT_TARGET", server.address)
    with SyncEditClient() as client:
        assert [one.id for one in client.experiments()] == ["one"]
    with SyncEditClient(server.address) as client:
        assert client.edit(b"x", experiment="e").success


async def test_the_async_client_refuses_an_address_that_is_a_url() -> None:
    with pytest.raises(SettingsError, match="without http:// or https://: 'host:1'"):
        EditClient("http://host:1/")


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1:1", "[::1]:1", "host:1", "dns:///host:1", "unix:/a:b", "ipv4:1.1.1.1:1,2.2.2.2:2", "ipv6:[::1]:1"],
)
def test_addresses_of_grpc_are_taken(target: str) -> None:
    check_target(target)


@pytest.mark.parametrize(
    "target",
    [
        "",
        " host:1",
        "https://host",
        "host:port",
        "host:0",
        "host:65536",
        "host",
        "127.0.0.1",
        "[::1]",
        "::1",
        ":1",
        "dns:///host",
        "ipv4:1.1.1.1:1,2.2.2.2",
    ],
)
def test_what_is_no_address_is_refused(target: str) -> None:
    with pytest.raises(SettingsError, match="must be HOST:PORT"):
        check_target(target)


def test_the_address_of_another_server_is_told_as_such(server: EditServer) -> None:
    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        with SyncEditClient(f"127.0.0.1:{port}") as client, pytest.raises(NotFound, match="does not offer this call"):
            client.experiments()
        done = imgedit("edit", "photo.png", *ASKED, "--target", f"127.0.0.1:{port}")
        assert (done.exit_code, "of an orchestrator" in done.stderr) == (ExitCode.FAILED, True)
    finally:
        other.stop(0).wait()


def test_health_says_which_experiment_lacks_what(server: EditServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert imgedit("health").stdout.count("SERVING") == 2
    monkeypatch.setattr(server, "lacking", ("fill",))
    done = imgedit("health")
    assert (done.exit_code, "NOT SERVING  fill not serving" in done.stdout) == (ExitCode.TRY_LATER, True)
    listed = json.loads(imgedit("health", "--json").stdout)["experiments"]
    assert listed == [{"id": "one", "available": False, "unavailable_services": ["fill"]}]


def test_every_field_at_fault_is_told_under_its_option(server: EditServer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Violation("guidance_scale", "must be 1 to 15, is 99"),
        Violation("outpaint.left", "must be 0 to 4096, is -1"),
    ]
    error = InvalidArgument("; ".join(f"{one.field}: {one.description}" for one in found), violations=found)
    monkeypatch.setattr(server, "error", error)
    done = imgedit("edit", "photo.png", *ASKED)
    assert done.exit_code == ExitCode.FAILED
    assert "error: --guidance-scale: must be 1 to 15, is 99\n" in done.stderr
    assert "error: --left: must be 0 to 4096, is -1\n" in done.stderr
    described = json.loads(imgedit("edit", "photo.png", *ASKED, "--json").stdout)["error"]["violations"]
    assert [(one["field"], one["option"]) for one in described] == [
        ("guidance_scale", "--guidance-scale"),
        ("outpaint.left", "--left"),
    ]


def test_an_estimate_is_printed_and_nothing_is_written(server: EditServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(Path().iterdir())
    found = edit_pb2.EstimateEditResponse(seconds=12.34, queue_seconds=4, queue_position=2)
    monkeypatch.setattr(server, "estimate", found)
    assert imgedit("edit", "photo.png", *ASKED, "--estimate").stdout == "about 12.3 s; jobs ahead of it: 2\n"
    korean = imgedit("edit", "photo.png", *ASKED, "--estimate", "--lang", "ko").stdout
    assert korean == "약 12.3초, 앞에 기다리는 작업 2개\n"
    told = json.loads(imgedit("edit", "photo.png", *ASKED, "--estimate", "--json").stdout)
    assert told == {"seconds": 12.34, "queue_seconds": 4.0, "queue_position": 2}
    assert server.seen[-1].prompt == "y"
    assert sorted(Path().iterdir()) == before


def test_an_estimate_that_is_not_known_yet_says_so(server: EditServer) -> None:
    assert imgedit("edit", "photo.png", *ASKED, "--estimate").stdout.startswith("not known yet:")
    told = json.loads(imgedit("edit", "photo.png", *ASKED, "--estimate", "--json").stdout)
    assert told == {"seconds": None, "queue_seconds": None, "queue_position": 0}
    assert imgedit("edit", "none.png", *ASKED, "--estimate").exit_code == ExitCode.FAILED


def test_several_results_have_a_file_each(server: EditServer) -> None:
    done = imgedit("edit", "photo.png", *ASKED, "--n", "3", "-o", "out.png")
    assert done.stdout.split() == ["out.png", "out-2.png", "out-3.png"]
    assert [Path(name).read_bytes() for name in done.stdout.split()] == [RESULT, RESULT + b"1", RESULT + b"2"]
    assert server.seen[-1].n == 3
    told = json.loads(imgedit("edit", "photo.png", *ASKED, "--n", "2", "-o", "o.png", "--json").stdout)
    assert told["further"] == [{"output": "o-2.png", "seed": 8}]
    assert imgedit("edit", "photo.png", *ASKED, "--n", "2", "-o", "out.png", "--json").exit_code == ExitCode.USAGE
    assert imgedit("edit", "photo.png", *ASKED, "--n", "5", "-o", "p.png").exit_code == ExitCode.USAGE
    assert "--n above 1" in imgedit("edit", "photo.png", *ASKED, "--n", "2", "-o", "-").stderr
