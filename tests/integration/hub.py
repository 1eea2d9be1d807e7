"""A Hugging Face hub on loopback with faults on request.

Large files (by suffix) are LFS: the listing states their SHA-256, and their download is redirected to another host
name, as to the real hub's storage. The listing comes in pages.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".gguf", ".model", ".safetensors")
PAGE = 4


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repo:
    files: dict[str, bytes]
    commit: str = "1" * 40
    gated: bool = False


@dataclass(frozen=True)
class Transfer:
    """A request for a file's bytes. start: where its Range begins; None without one."""

    path: str
    start: int | None
    authorization: str | None


@dataclass
class Hub:
    """Create the hub.

    info_as, entries_as: false statements. more_bytes: sent after a file's end, without a length. storage: redirect
    target of large files. next_page: link to a further page of every listing. encoding: claimed of every file. tokens:
    path and Authorization of each request that had one.
    """

    port: int
    repos: dict[str, Repo] = field(default_factory=dict)
    token: str = "good-token"
    transfers: list[Transfer] = field(default_factory=list)
    faults: dict[str, list[Literal["cut", "reset"]]] = field(default_factory=dict)
    wrong_bytes: set[str] = field(default_factory=set)
    status: int | None = None
    info_as: Callable[[dict[str, Any]], Any] = lambda info: info
    entries_as: Callable[[list[dict[str, Any]]], Any] = lambda entries: entries
    more_bytes: dict[str, int] = field(default_factory=dict)
    storage: str | None = None
    next_page: str | None = None
    encoding: str | None = None
    tokens: list[tuple[str, str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def served(self) -> list[str]:
        return [transfer.path for transfer in self.transfers]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HubServer

    def do_GET(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        path = unquote(url.path)
        if authorization := self.headers.get("Authorization"):
            hub.tokens.append((path, authorization))
        if hub.status is not None:
            return self.answer(hub.status, {})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            return self.info(match[1], match[2])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(\w+)", path):
            return self.tree(match[1], int(parse_qs(url.query).get("cursor", ["0"])[0]))
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", path):
            return self.resolve(match[1], match[2], match[3])
        if match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            return self.content(match[2], hub.repos[match[1]].files[match[2]], {})
        return self.answer(404, {})

    def info(self, name: str, revision: str) -> None:
        repo = self.server.hub.repos.get(name)
        if repo is None:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", repo.commit):
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": path} for path in repo.files]
        info = {"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings}
        return self.json(self.server.hub.info_as(info))

    def tree(self, name: str, cursor: int) -> None:
        hub, headers = self.server.hub, {}
        entries = hub.entries_as(self.entries(hub.repos[name]))
        if not isinstance(entries, list):
            return self.json(entries)
        if hub.next_page:
            headers["Link"] = f'<{hub.next_page}>; rel="next"'
        if cursor + PAGE < len(entries):
            page = f"{hub.address}{urlsplit(self.path).path}?recursive=True&cursor={cursor + PAGE}"
            headers["Link"] = f'<{page}>; rel="next"'
        return self.json(entries[cursor : cursor + PAGE], headers)

    def entries(self, repo: Repo) -> list[dict[str, Any]]:
        folders = sorted({path.rpartition("/")[0] for path in repo.files} - {""})
        entries: list[dict[str, Any]] = [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]
        for path, content in repo.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_blob_id(content)}
            if path.endswith(LFS_SUFFIXES):
                sha256 = hashlib.sha256(content).hexdigest()
                entry |= {"oid": "2" * 40, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}
            entries.append(entry)
        return entries

    def resolve(self, name: str, revision: str, path: str) -> None:
        hub, repo = self.server.hub, self.server.hub.repos[name]
        if repo.gated and self.headers["Authorization"] != f"Bearer {hub.token}":
            return self.answer(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        if path not in repo.files or revision != repo.commit:
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        content = repo.files[path]
        if not path.endswith(LFS_SUFFIXES):
            return self.content(path, content, {"X-Repo-Commit": repo.commit, "ETag": f'"{git_blob_id(content)}"'})
        linked = {
            "X-Repo-Commit": repo.commit,
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{hub.storage or f'http://localhost:{hub.port}'}/storage/{name}/{path}",
        }
        return self.answer(302, linked)

    def content(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        hub, size = self.server.hub, len(content)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        hub.transfers.append(Transfer(path, int(asked[1]) if asked else None, self.headers.get("Authorization")))
        if path in hub.wrong_bytes:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = int(asked[1]) if asked else 0
        if hub.encoding:
            headers = {**headers, "Content-Encoding": hub.encoding}
        if path in hub.more_bytes:
            self.overlong(content[start:], hub.more_bytes[path], headers)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for header, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(size - start)}.items():
            self.send_header(header, value)
        self.end_headers()
        fault = hub.faults[path].pop(0) if hub.faults.get(path) else None
        self.wfile.write(content[start : start + (size - start) // 2] if fault else content[start:])
        if fault:
            self.hang_up(fault)

    def overlong(self, content: bytes, more: int, headers: dict[str, str]) -> None:
        """The content and more, without a length, until the client has enough."""
        self.close_connection = True
        self.send_response(200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        try:
            self.wfile.write(content)
            for _ in range(more // 4096):
                self.wfile.write(b"x" * 4096)
        except OSError:
            pass

    def hang_up(self, fault: Literal["cut", "reset"]) -> None:
        """End the connection before its time.

        `reset` once the client has read what was sent.
        """
        self.wfile.flush()
        self.close_connection = True
        if fault == "reset":
            threading.Event().wait(0.2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()

    def json(self, content: Any, headers: dict[str, str] | None = None) -> None:
        self.answer(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(content).encode())

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class HubServer(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not the hub's fault."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    with HubServer(("127.0.0.1", 0), Handler) as server:
        server.hub = Hub(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.hub
        server.shutdown()
        thread.join()
