"""Requests to a Hugging Face hub, and checks on everything that it answers.

The address may lead to a mirror, a proxy or an impostor. So names, digests, sizes and commits are checked before use,
answers are read up to a bound, and the access token goes to one host only. `huggingface_hub` and its HTTP library are
imported when they are used.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlsplit

from imgedit import __version__
from imgedit.addresses import is_loopback
from imgedit.errors import HubUnavailable, ModelDownloadError
from imgedit.weights.model_registry import LockedFile, Source, git_sha1_of, sha256_of

if TYPE_CHECKING:
    import httpx2

PUBLIC_HUB = "https://huggingface.co"
"""The hub that an access token is made for."""

TIMEOUT_SECONDS = 30.0
"""Longest wait for a connection and for each further piece of an answer."""

MAX_LISTING_BYTES = 64 << 20
"""All pages of a listing together; the hub's largest repositories take a few MB."""

MAX_FILE_BYTES = 1 << 50

RETRIES = 5
"""How often a transfer is resumed without a new byte in between."""

_LATER = (408, 429, 500, 502, 503, 504)
"""HTTP status codes of temporary errors."""

_COMMIT = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")
_TOKEN = re.compile("[!-~]+")


@dataclass(frozen=True)
class HubFile:
    """A file as the hub describes it.

    sha256: stated for large files only; git_sha1: the blob id otherwise.
    """

    path: str
    size: int
    sha256: str | None
    git_sha1: str

    @property
    def identity(self) -> str:
        """The strongest digest that the hub states."""
        return self.sha256 or self.git_sha1

    def identity_of(self, path: Path) -> str:
        """The same digest of a file here."""
        return sha256_of(path) if self.sha256 else git_sha1_of(path)

    def is_at(self, path: Path) -> bool:
        """Whether the file here has the hub's bytes."""
        return path.is_file() and path.stat().st_size == self.size and self.identity_of(path) == self.identity

    def locked(self, path: Path) -> LockedFile:
        """The record of the checked file."""
        if self.sha256:
            return LockedFile(self.size, self.sha256, "hub")
        return LockedFile(self.size, sha256_of(path), "computed", self.git_sha1)


class Hub:
    """One hub at an address like https://huggingface.co; used as a context.

    Raises `ModelDownloadError`.
    """

    def __init__(self, endpoint: str, *, send_token: bool = False) -> None:
        """Open the hub.

        `send_token`: send the access token to `endpoint` even if that is not https://huggingface.co.
        """
        self.endpoint = endpoint.rstrip("/")
        self._origin = _origin(self.endpoint)
        if self._origin is None:
            raise ModelDownloadError(f"--endpoint {quoted(endpoint)}: must be https://HOST or http://HOST")
        self._may_send_token = send_token or self._origin == _origin(PUBLIC_HUB)
        self._token = _token() if self._may_send_token else None
        self._client = self._open()

    def _open(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            follow_redirects=True,
            timeout=TIMEOUT_SECONDS,
            # A compressed answer has other offsets, so that it could not be resumed, and no bound.
            headers={"User-Agent": f"imgedit/{__version__}", "Accept-Encoding": "identity"},
            event_hooks={"request": [self._check_request]},
            trust_env=not is_loopback(urlsplit(self.endpoint).hostname or ""),
        )

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def withholds_token(self) -> bool:
        """Whether there is an access token that this hub does not get."""
        return not self._may_send_token and bool(os.environ.get("HF_TOKEN"))

    def listing(self, source: Source) -> tuple[str, list[HubFile]]:
        """The commit that the source's revision stands for, and its files by path."""
        url = f"{self.endpoint}/api/models/{source.repo}"
        info, _ = self._json(source, f"{url}/revision/{quote(source.revision, safe='')}", MAX_LISTING_BYTES)
        commit = self._text(info, "sha").lower()
        if not _COMMIT.fullmatch(commit):
            raise self._nonsense(f"the commit is {quoted(commit)}, not 40 hexadecimal digits")
        files: dict[str, HubFile] = {}
        for entry in self._entries(source, f"{url}/tree/{commit}?recursive=True"):
            if self._text(entry, "type") != "file":
                continue
            file = self._file(entry)
            if file.path in files:
                raise self._nonsense(f"it lists {quoted(file.path)} twice")
            files[file.path] = file
        return commit, [files[path] for path in sorted(files)]

    def transfer(self, source: Source, commit: str, file: HubFile, output: BinaryIO) -> None:
        """Append what `output` lacks of the file, never more than the stated size.

        Broken connections are resumed.
        """
        import httpx2
        from huggingface_hub.utils.tqdm import tqdm

        url = f"{self.endpoint}/{source.repo}/resolve/{commit}/{quote(file.path)}"
        idle = 0
        bar: Any = tqdm(  # type: ignore[no-untyped-call]
            total=file.size, initial=output.tell(), desc=file.path, unit="B", unit_scale=True, disable=None
        )
        with bar:
            while (done := output.tell()) < file.size:
                try:
                    for block in self._body(source, url, output):
                        if output.tell() + len(block) > file.size:
                            raise self._nonsense(f"{file.path} is longer than the {file.size} bytes that it states")
                        output.write(block)
                        bar.update(len(block))
                except (httpx2.ConnectError, httpx2.TimeoutException, httpx2.RemoteProtocolError):
                    if idle == RETRIES:
                        raise
                idle = 0 if output.tell() > done else idle + 1
                if idle > RETRIES:
                    raise self._nonsense(f"{file.path} ends after {done} of the {file.size} bytes that it states")
                if output.tell() < file.size:
                    time.sleep(1)

    def _body(self, source: Source, url: str, output: BinaryIO) -> Iterator[bytes]:
        """The bytes after the end of `output`.

        If the hub restarts from zero, `output` is emptied.
        """
        done = output.tell()
        with self._client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as response:
            self._check_response(source, response)
            if response.status_code == 200 and done:
                output.seek(0)
                output.truncate()
            elif done and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                raise self._nonsense(f"asked for the bytes from {done} on, it answers with others")
            yield from response.iter_raw()

    def _entries(self, source: Source, url: str | None) -> Iterator[Any]:
        left = MAX_LISTING_BYTES
        while url:
            page, response = self._json(source, url, left)
            if not isinstance(page, list):
                raise self._nonsense("its list of files is not a list")
            left -= response.num_bytes_downloaded + 1  # so that empty pages, too, have an end
            yield from page
            url = response.links.get("next", {}).get("url")

    def _json(self, source: Source, url: str, limit: int) -> tuple[Any, httpx2.Response]:
        body = bytearray()
        with self._client.stream("GET", url) as response:
            self._check_response(source, response)
            for block in response.iter_raw():
                body += block
                if len(body) > limit:
                    raise self._nonsense(f"its list of files is longer than {MAX_LISTING_BYTES >> 20} MiB")
        try:
            return json.loads(body), response
        except (ValueError, RecursionError):
            raise self._nonsense("not JSON") from None

    def _file(self, entry: Any) -> HubFile:
        path, git_sha1, size = self._text(entry, "path"), self._text(entry, "oid").lower(), entry.get("size")
        lfs = entry.get("lfs")
        sha256 = None if lfs is None else self._text(lfs, "oid").lower()
        if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
            raise self._nonsense(f"the size of {quoted(path)} is {quoted(size)}, not a number of bytes")
        if not _COMMIT.fullmatch(git_sha1):
            raise self._nonsense(f"the blob id of {quoted(path)} is {quoted(git_sha1)}, not 40 hexadecimal digits")
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            raise self._nonsense(f"the SHA-256 of {quoted(path)} is {quoted(sha256)}, not 64 hexadecimal digits")
        return HubFile(path, size, sha256, git_sha1)

    def _text(self, entry: Any, name: str) -> str:
        """A field that must be a text."""
        value = entry.get(name) if isinstance(entry, dict) else None
        if not isinstance(value, str):
            raise self._nonsense(f"a text {name!r} is missing")
        return value

    def _check_request(self, request: httpx2.Request) -> None:
        """Called before every request, those after a redirect included."""
        url = str(request.url)
        if self._origin and self._origin[0] == "https" and request.url.scheme != "https":
            raise self._nonsense(f"it leads away from TLS, to {quoted(url)}")
        request.headers.pop("Authorization", None)
        if self._token and _origin(url) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._token}"

    def _check_response(self, source: Source, response: httpx2.Response) -> None:
        if response.status_code not in (200, 206):
            code = response.headers.get("X-Error-Code", "")
            kind = HubUnavailable if response.status_code in _LATER else ModelDownloadError
            raise kind(self._refusal(source, response.status_code, code))
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._nonsense("the answer is compressed, though asked not to be")

    def _nonsense(self, what: str) -> ModelDownloadError:
        return ModelDownloadError(
            f"{self.endpoint} does not answer as a Hugging Face hub does: {what}. Check --endpoint, and whether a "
            "proxy answers in its place"
        )

    def _refusal(self, source: Source, status: int, code: str) -> str:
        """The meaning of an HTTP status for someone who wants a model."""
        withheld = ""
        if self.withholds_token:
            withheld = f". HF_TOKEN was not sent, since {self.endpoint} is not {PUBLIC_HUB}: --send-token sends it"
        if code == "RevisionNotFound":
            return f"{source.repo} has no revision {source.revision}; check --revision"
        if code == "GatedRepo" or (source.gated and status in (401, 403)):
            return (
                f"{source.repo} is gated: accept its licence on {self.endpoint}/{source.repo}, make an access token on "
                f"{self.endpoint}/settings/tokens, set HF_TOKEN to it and pull again{withheld}"
            )
        match status:
            case 401:
                return (
                    f"{self.endpoint} asks for a login for {source.repo} (401): check the repository's address, or, "
                    f"for a private one, set HF_TOKEN to a valid access token{withheld}"
                )
            case 403:
                return (
                    f"the access token may not read {source.repo} (403); give it read access on {self.endpoint}"
                    f"{withheld}"
                )
            case 404:
                return (
                    f"{self.endpoint} has no such file or repository in {source.repo} (404); check --repo and "
                    f"--endpoint{withheld}"
                )
            case 429:
                return f"{self.endpoint} asks for fewer requests (429); wait some minutes and pull again to continue"
            case _:
                return (
                    f"{self.endpoint} answered with HTTP status {status} for {source.repo}; pull again later to "
                    "continue"
                )


def quoted(value: object) -> str:
    """A stranger's value for a message.

    On one line, ASCII only, at most 100 characters.
    """
    text = ascii(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 100 else f"{text[:99]}…"


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an HTTP address; None where it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80)


def _token() -> str | None:
    from huggingface_hub import get_token

    token = get_token()
    if token and not _TOKEN.fullmatch(token):
        raise ModelDownloadError("HF_TOKEN is not an access token: it holds spaces or other signs that none has")
    return token
