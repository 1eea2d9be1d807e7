"""Memory limits of uploads: Streamlit alone holds any number of files."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web.server.starlette import starlette_routes

from studio import uploads
from studio.request_guard import Door
from studio.uploads import MAX_FILE_BYTES, Pages, TooMuch, Uploads, address_of

MIB = 1024 * 1024


class Inside:
    """Streamlit's place: keeps an upload once it is told to, and answers."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.arrived = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.arrived.wait()
        session = scope["path"].split("/")[-2]
        self.kept[session] = self.kept.get(session, 0) + 100
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def put(door: Door, session: str, length: str | None = "100", address: str = "") -> int:
    """The status that an upload is answered with."""
    headers = [] if length is None else [(b"content-length", length.encode())]
    path = f"/base/_stcore/upload_file/{session}/some-id"
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    client = (address or f"address of {session}", 1)
    await door({"type": "http", "method": "PUT", "path": path, "headers": headers, "client": client}, receive, send)
    [status] = statuses
    return status


async def test_what_arrives_and_what_is_kept_is_bounded_for_a_visit_and_for_all() -> None:
    inside = Inside()
    door = door_of(inside, per_session=250, most=800)
    arriving = [asyncio.create_task(put(door, "alice")) for _ in range(2)]
    await asyncio.sleep(0)
    assert await put(door, "alice") == 413
    inside.arrived.set()
    assert await asyncio.gather(*arriving) == [204, 204]
    assert await put(door, "alice") == 413
    del inside.kept["alice"]
    assert await put(door, "alice") == 204


async def test_one_address_leaves_room_for_others_whatever_visits_it_opens() -> None:
    inside = Inside()
    inside.arrived.set()
    door = door_of(inside, per_session=300, most=1200)
    taken = [await put(door, f"visit {number}", address=f"2001:db8::{number}") for number in range(9)]
    assert taken == [204] * 6 + [413] * 3
    assert [await put(door, "alice") for _ in range(4)] == [204, 204, 204, 413]
    assert await put(door, "bob") == 204
    assert await put(door, "visit 0", address="192.0.2.1") == 413  # a visit counts for its first address
    for number in range(6):
        inside.kept[f"visit {number}"] = 0  # the files were removed
    assert await put(door, "visit 0", address="192.0.2.1") == 204


def door_of(inside: Inside, *, per_session: int, most: int) -> Door:
    return Door(inside, Uploads(lambda: inside.kept, per_session, most), Pages(9))


async def test_pages_are_bounded_and_one_address_leaves_room_for_others() -> None:
    closing = asyncio.Event()

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        await closing.wait()

    door = Door(inside, Uploads(dict, 1, 1), Pages(8))
    refused: list[Any] = []

    async def opened(address: str, **further: Any) -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            refused.append(message)

        scope = {"type": "websocket", "path": "/_stcore/stream", "headers": [], "client": (address, 1), **further}
        await door(scope, receive, send)

    stranger = "192.0.2.1"
    others = ("192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")
    pages = [asyncio.create_task(opened(address)) for address in (*[stranger] * 5, *others)]
    await asyncio.sleep(0)
    assert refused == [{"type": "websocket.close", "code": 1013}]  # the stranger's fifth page; the others are open
    await opened("192.0.2.6", extensions={"websocket.http.response": {}})
    assert [message.get("status") for message in refused[1:]] == [503, None]
    assert b"8 pages are open" in refused[-1]["body"]
    closing.set()
    await asyncio.gather(*pages)
    assert len(refused) == 3
    await opened(stranger)
    assert len(refused) == 3


@pytest.mark.parametrize("length", [None, "no number", "9" * 5000, "99999999999"])
def test_an_upload_of_unknown_size_counts_as_the_largest(length: str | None) -> None:
    inside = Inside()
    inside.arrived.set()
    limits = [(2 * MAX_FILE_BYTES, 204), (MAX_FILE_BYTES - 1, 413)]
    for limit, status in limits:
        assert asyncio.run(put(door_of(inside, per_session=limit, most=2 * limit), "alice", length)) == status


async def test_an_upload_that_takes_too_long_is_ended_and_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SECONDS", 0.05)
    inside = Inside()
    door = door_of(inside, per_session=100, most=200)
    assert await put(door, "alice") == 408
    inside.arrived.set()
    assert await put(door, "alice") == 204


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 5), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("unix socket", 0), "unix socket"),
        (None, ""),
    ],
)
def test_an_address_is_that_of_a_line(client: object, address: str) -> None:
    assert address_of({"client": client}) == address


def test_a_refusal_says_what_can_be_done() -> None:
    arriving = Uploads(lambda: {"alice": 90}, per_session=100, most=1000).arriving("alice", 20)
    with pytest.raises(TooMuch, match="of this visit take 90 bytes already, at most 100 are held; remove"), arriving:
        pass


def test_the_path_and_the_store_are_those_of_this_streamlit(monkeypatch: pytest.MonkeyPatch) -> None:
    path = starlette_routes._ROUTE_UPLOAD_FILE.format(session_id="alice", file_id="1")
    assert uploads.session_of(f"/{path.removeprefix('/')}") == "alice"
    assert uploads.session_of("/_stcore/health") is None
    manager = MemoryUploadedFileManager("/upload")
    for id, size in (("1", 10), ("2", 20), ("2", 5)):
        manager.add_file("alice", UploadedFileRec(id, "a.png", "image/png", bytes(size)))
    manager.add_file("bob", UploadedFileRec("1", "a.png", "image/png", bytes(7)))
    monkeypatch.setattr(Runtime, "instance", lambda: SimpleNamespace(uploaded_file_mgr=manager))
    assert uploads.kept_by_streamlit() == {"alice": 15, "bob": 7}
