"""`imgedit models pull` against a hub that lies.

One clear line, and nothing outside the models folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from imgedit.cli.main import app
from tests.integration.hub import Hub, Repo, git_blob_id, running_hub

pytestmark = pytest.mark.slow

WEIGHTS = bytes(range(256)) * 40
NAME = "PramaLLC/BEN2"
Run = Callable[..., Result]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        hub.repos[NAME] = Repo({"model.safetensors": WEIGHTS, "config.json": b"{}"})
        yield hub


@pytest.fixture
def run(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `imgedit models …`; checks that it ends without a traceback."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Result:
        environment = {"HF_ENDPOINT": hub.address, "IMGEDIT_MODELS": str(tmp_path / "models"), "COLUMNS": "200"}
        result = CliRunner().invoke(app, ["models", *arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def refused(result: Result) -> str:
    """The one line of the refusal."""
    assert result.exit_code == 1, result.output
    [line] = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert result.output.isprintable() or all(part.isprintable() for part in result.output.splitlines())
    return line


def of_weights(**change: Any) -> Callable[[list[dict[str, Any]]], Any]:
    """A listing in which the entry of the weights is changed."""

    def rewrite(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, **change} if entry["path"] == "model.safetensors" else entry for entry in entries]

    return rewrite


def lfs(**change: Any) -> Callable[[list[dict[str, Any]]], Any]:
    def rewrite(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "lfs": {**entry["lfs"], **change}} if "lfs" in entry else entry for entry in entries]

    return rewrite


@pytest.mark.parametrize("as_lfs", [True, False])
@pytest.mark.parametrize("kind", ["absolute", "relative", "short", "newline", "number", "null"])
def test_a_digest_that_is_none_is_never_a_path(run: Run, hub: Hub, tmp_path: Path, kind: str, as_lfs: bool) -> None:
    victim = tmp_path / "profile"
    victim.write_bytes(b"mine")
    digests: dict[str, Any] = {
        "absolute": str(victim),
        "relative": "../../profile",
        "short": "ab12",
        "newline": "a" * (64 if as_lfs else 40) + "\n",
        "number": 12,
        "null": None,
    }
    hub.entries_as = lfs(oid=digests[kind]) if as_lfs else of_weights(lfs=None, oid=digests[kind])
    line = refused(run("pull", "ben2"))
    assert "does not answer as a Hugging Face hub" in line
    assert victim.read_bytes() == b"mine"
    assert hub.transfers == []


@pytest.mark.parametrize(
    "size", ["lots", -1, 1.5, True, None, 10**400, float("nan"), [1], 1 << 60], ids=lambda size: str(size)[:8]
)
def test_a_size_that_is_none_is_refused(run: Run, hub: Hub, size: Any) -> None:
    hub.entries_as = of_weights(size=size)
    assert "the size of 'model.safetensors'" in refused(run("pull", "ben2"))
    assert hub.transfers == []


@pytest.mark.parametrize("commit", ["../../../../etc", "1" * 39, "1" * 41, "g" * 40, "１" * 40, "", 7, None])
def test_a_commit_that_is_none_is_refused(run: Run, hub: Hub, tmp_path: Path, commit: Any) -> None:
    hub.info_as = lambda info: {**info, "sha": commit}
    assert "does not answer as a Hugging Face hub" in refused(run("pull", "ben2"))
    assert not (tmp_path / "models/models.lock").exists()


DEEP = json.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize(
    "listing",
    [None, "text", 5, {}, {"error": "x"}, [None], ["a"], [[]], [{}], [{"type": "file"}], [{"type": 1}], DEEP],
    ids=lambda listing: str(listing)[:16],
)
def test_a_listing_of_the_wrong_shape_is_refused(run: Run, hub: Hub, listing: Any) -> None:
    hub.entries_as = lambda entries: listing
    assert "does not answer as a Hugging Face hub" in refused(run("pull", "ben2"))


@pytest.mark.parametrize("info", [None, [], "text", 5, {}])
def test_repository_information_of_the_wrong_shape_is_refused(run: Run, hub: Hub, info: Any) -> None:
    hub.info_as = lambda truth: info
    assert "does not answer as a Hugging Face hub" in refused(run("pull", "ben2"))


@pytest.mark.parametrize(
    "path",
    [
        "a/../../x.json",
        "/x.json",
        "./x.json",
        "a//x.json",
        "a\\..\\x.json",
        "C:x.json",
        "\x1b[2Jx.json",
        "\u202ex.json",
    ],
)
def test_a_name_that_is_not_plain_is_not_wanted(run: Run, hub: Hub, tmp_path: Path, path: str) -> None:
    entry = {"type": "file", "path": f"vae/{path}" if path[0] != "/" else path, "size": 2, "oid": git_blob_id(b"{}")}
    hub.repos["me/qwen"] = Repo({"model_index.json": b"{}"})
    hub.entries_as = lambda entries: [*entries, entry]
    assert run("pull", "qwen-image-edit", "--repo", "me/qwen").exit_code == 0
    written = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {"models/models.lock", "models/Qwen-Image-Edit-2509/model_index.json"}


def test_a_file_that_is_listed_twice_is_refused(run: Run, hub: Hub) -> None:
    hub.entries_as = lambda entries: [*entries, entries[0]]
    assert "lists 'model.safetensors' twice" in refused(run("pull", "ben2"))


def test_pages_without_end_are_refused(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgedit.weights.hub.MAX_LISTING_BYTES", 1 << 20)
    hub.repos[NAME].files["README.md"] = b"x" * 10
    hub.entries_as = lambda entries: [{"type": "directory", "path": "x" * 100_000}]
    hub.next_page = f"{hub.address}/api/models/{NAME}/tree/{'1' * 40}"
    assert "list of files is longer than 1 MiB" in refused(run("pull", "ben2"))


def test_bytes_beyond_the_stated_size_are_not_written(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.more_bytes["model.safetensors"] = 1 << 30
    assert "is longer than the 10240 bytes" in refused(run("pull", "ben2"))
    assert all(file.stat().st_size <= len(WEIGHTS) for file in tmp_path.rglob("*") if file.is_file())


def test_a_compressed_answer_is_refused(run: Run, hub: Hub) -> None:
    hub.encoding = "gzip"
    assert "compressed" in refused(run("pull", "ben2"))


def test_a_token_is_not_sent_to_another_hub_and_the_refusal_says_so(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.repos[NAME].gated = True
    result = run("pull", "ben2")
    assert "--send-token" in refused(result)
    assert hub.tokens == []
    assert hub.token not in result.output
    assert run("pull", "ben2", "--send-token").exit_code == 0


def test_a_token_that_is_sent_stays_with_its_host(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with running_hub() as other:
        other.repos[NAME] = hub.repos[NAME]
        hub.storage = other.address
        hub.next_page = f"{other.address}/api/models/{NAME}/tree/{'1' * 40}?cursor=100"
        assert run("pull", "ben2", "--send-token").exit_code == 0
        assert [transfer.path for transfer in other.transfers] == ["model.safetensors"]
        assert other.tokens == []
    assert hub.tokens


def test_the_token_goes_to_the_public_hub_over_tls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from imgedit.weights.hub import Hub as Client

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for endpoint, is_sent in {
        "https://huggingface.co": True,
        "https://huggingface.co:443/": True,
        "http://huggingface.co": False,
        "https://huggingface.co:444": False,
        "https://huggingface.co@evil.example": False,
        "https://huggingface.co.evil.example": False,
        "https://mirror.example": False,
    }.items():
        with Client(endpoint) as client:
            assert client.withholds_token is not is_sent, endpoint


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://huggingface.co", "https://", "http://[", "https://h:x"])
def test_an_endpoint_that_is_no_address_is_refused(run: Run, endpoint: str) -> None:
    assert "--endpoint" in refused(run("pull", "ben2", "--endpoint", endpoint))


def test_a_hub_under_tls_cannot_lead_to_plain_http(hub: Hub) -> None:
    import httpx2

    from imgedit.errors import ModelDownloadError
    from imgedit.weights.hub import Hub as Client

    with Client("https://huggingface.co") as client, pytest.raises(ModelDownloadError, match="leads away from TLS"):
        client._check_request(httpx2.Request("GET", hub.address))


@pytest.mark.parametrize("place", [".incomplete", "BEN2"])
def test_nothing_is_written_through_a_linked_folder(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models" / place).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(run("pull", "ben2"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_linked_files_are_replaced_and_their_targets_stay_as_they_are(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    for place in (f".incomplete/{hashlib.sha256(WEIGHTS).hexdigest()}", "BEN2/model.safetensors", "models.lock.new"):
        link = tmp_path / "models" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(victim)
    assert run("pull", "ben2").exit_code == 0
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "models/BEN2/model.safetensors").read_bytes() == WEIGHTS
    assert run("verify").exit_code == 0


@pytest.mark.parametrize(
    "change",
    [{"size": "lots"}, {"sha256": 5}, {"sha256_from": "nowhere"}, {"size": None}],
)
def test_a_lock_of_the_wrong_shape_is_named(run: Run, tmp_path: Path, change: dict[str, Any]) -> None:
    assert run("pull", "ben2").exit_code == 0
    lock = tmp_path / "models/models.lock"
    content = json.loads(lock.read_text())
    content["models"]["ben2"]["files"]["model.safetensors"] |= change
    lock.write_text(json.dumps(content))
    assert "models.lock is damaged" in refused(run("verify"))
    content["models"]["ben2"]["files"] = {"../../x": {"size": 1, "sha256": "", "sha256_from": "hub"}}
    lock.write_text(json.dumps(content))
    assert "models.lock is damaged" in refused(run("verify"))
