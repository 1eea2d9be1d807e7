"""Edits in a real Redis: callers, bounds, leases, damage, refused settings."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from imgedit.errors import RequestIdInUse, ServiceUnavailable, SettingsError, TooManyEdits, from_status
from imgedit.v1 import edit_pb2
from services.common.settings import MIB
from services.orchestrator.edits import store_connection
from services.orchestrator.edits.admission import Admission, Limit
from services.orchestrator.edits.answer_store import FORMAT, AnswerStore
from services.orchestrator.edits.edit_record import Key
from services.orchestrator.edits.shared_edit import SharedEdit
from services.orchestrator.settings import OrchestratorSettings
from tests.support.redis_server import RedisServer, redis_server

from .authority import Authority

pytestmark = pytest.mark.slow

KEY = Key("alice", "one")
PASSWORD = "the-password-of-the-store"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def raw(server: RedisServer) -> Iterator[redis.Redis]:
    """The store as Redis sees it, empty."""
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.flushall()
        yield client


@asynccontextmanager
async def answer_store(url: str, limit: int = 1024 * MIB, **settings: Any) -> AsyncIterator[AnswerStore]:
    """A started store of one replica; limit: bytes of a caller's edits."""
    chosen = OrchestratorSettings(**{"store_url": url, "store_seconds": 60, "store_lease_seconds": 3600, **settings})
    store = store_connection.open_store(chosen, Admission(Limit(8, limit), Limit(8, limit)))
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def queued(key: Key) -> edit_pb2.GetEditResponse:
    return edit_pb2.GetEditResponse(request_id=key.request_id, state=edit_pb2.EDIT_STATE_QUEUED)


def shared(store: AnswerStore, key: Key = KEY) -> SharedEdit:
    return SharedEdit(store, key, lambda: queued(key))


def answer(key: Key = KEY, nbytes: int = 100) -> edit_pb2.EditResponse:
    return edit_pb2.EditResponse(request_id=key.request_id, output_image=bytes(nbytes))


async def kept(store: AnswerStore, key: Key = KEY, nbytes: int = 100) -> edit_pb2.EditResponse:
    edit = shared(store, key)
    assert await edit.claim(b"request") is None
    await edit.keep(answer(key, nbytes))
    return answer(key, nbytes)


async def found(store: AnswerStore, key: Key = KEY) -> edit_pb2.EditResponse | None:
    stored = await store.find(key)
    return await store.response(key, stored.nbytes) if stored is not None and stored.nbytes else None


def records(raw: redis.Redis) -> list[bytes]:
    return list(raw.scan_iter(f"{FORMAT}:edit:*"))


def unreadable() -> float:
    return REGISTRY.get_sample_value("imgedit_answer_store_errors_total", {"kind": "unreadable"}) or 0


async def test_an_id_belongs_to_its_caller(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url) as store:
        own = await kept(store)
        for stranger in (Key("bob", "one"), Key("alice:o", "ne"), Key("", "aliceone")):
            assert await store.find(stranger) is None
            assert await shared(store, stranger).claim(b"request") is None
        assert await found(store) == own
        assert not [key for key in raw.scan_iter() if b"alice" in key]


async def test_an_answer_over_a_callers_limit_is_refused_before_it_is_read(
    server: RedisServer, raw: redis.Redis
) -> None:
    async with answer_store(server.url) as generous, answer_store(server.url, limit=MIB) as strict:
        await kept(generous, nbytes=2 * MIB)
        with strict._admission.request(KEY.caller, MIB), pytest.raises(TooManyEdits):
            await shared(strict).claim(b"request")


async def test_the_oldest_are_evicted_over_the_limit_of_bytes(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url, store_max_bytes=MIB) as store:
        keys = [Key("alice", f"edit-{number}") for number in range(6)]
        for key in keys:
            await kept(store, key, nbytes=300_000)
        assert [await found(store, key) is not None for key in keys] == [False] * 3 + [True] * 3
        assert int(raw.hget(f"{FORMAT}:sizes", "total")) == pytest.approx(900_000, abs=9000)
        assert REGISTRY.get_sample_value("imgedit_answer_store_bytes") == int(raw.hget(f"{FORMAT}:sizes", "total"))
        assert raw.zcard(f"{FORMAT}:ages") == 3
        assert raw.memory_usage(records(raw)[0]) < 300_000 * 4 / 3


async def test_an_answer_larger_than_the_store_leaves_its_state(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url, store_max_bytes=MIB) as store:
        await kept(store, nbytes=2 * MIB)
        stored = await store.find(KEY)
        assert stored is not None
        assert (stored.state.state, stored.nbytes) == (edit_pb2.EDIT_STATE_SUCCEEDED, 0)


async def test_ends_without_an_answer_count_as_well(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url, store_max_bytes=MIB) as store:
        error = edit_pb2.GetEditResponse(state=edit_pb2.EDIT_STATE_FAILED)
        error.error.message = "x" * 100_000
        for number in range(15):
            edit = shared(store, Key("alice", f"edit-{number}"))
            await edit.claim(b"")
            edit.end(error)
        await store.stop()
        assert len(records(raw)) == 10


async def test_everything_expires(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url, kept_answer_seconds=0.05) as store:
        await kept(store)
        async with asyncio.timeout(60):
            while await store.find(KEY) is not None:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.02)
        for key in raw.scan_iter():
            assert raw.pttl(key) > 0, key
        await kept(store, Key("alice", "two"))
        assert raw.zcard(f"{FORMAT}:ages") <= 1  # the expired one is no longer counted
    async with answer_store(server.url) as store:
        await shared(store, Key("alice", "three")).claim(b"request")
        await kept(store, Key("alice", "four"))
        assert all(raw.pttl(key) > 0 for key in raw.scan_iter())


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw, record: raw.hset(record, "answer", b"\xff\xff\xff"),
        lambda raw, record: raw.hset(record, "answer", answer(Key("alice", "other")).SerializeToString()),
        lambda raw, record: raw.hset(record, "state", b"\xff\xff\xff"),
        lambda raw, record: raw.set(record, b"no hash"),
    ],
    ids=["answer", "answer of another id", "state", "another type"],
)
async def test_a_damaged_record_is_ignored_and_counted(damage: Any, server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url) as store:
        await kept(store)
        [record] = records(raw)
        damage(raw, record)
        before = unreadable()
        assert await found(store) is None
        assert unreadable() > before
        assert REGISTRY.get_sample_value("imgedit_answer_store_lost") == 0


async def test_a_record_of_another_format_is_not_read(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url) as store:
        await kept(store)
        [record] = records(raw)
        raw.rename(record, record.replace(b"imgedit:1:", b"imgedit:2:"))
        assert await store.find(KEY) is None


async def test_an_edit_whose_replica_is_gone_has_ended_with_an_error(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url) as store:
        async with answer_store(server.url) as other:
            await shared(other).claim(b"request")
            seen = await store.find(KEY)
            assert seen is not None
            assert (seen.state.state, seen.is_running) == (edit_pb2.EDIT_STATE_QUEUED, True)
        raw.delete(*raw.scan_iter(f"{FORMAT}:replica:*"))  # as leases expire
        seen = await store.find(KEY)
        assert seen is not None
        assert (seen.state.state, seen.is_running) == (edit_pb2.EDIT_STATE_FAILED, False)
        error = from_status(seen.state.error)
        assert type(error) is ServiceUnavailable
        assert "send the request again" in error.message
        assert error.request_id == KEY.request_id
        assert await shared(store).claim(b"another request") is None  # the id is free again


async def test_a_lease_that_is_not_renewed_ends(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url, store_lease_seconds=0.5):
        pass
    async with asyncio.timeout(60):
        while list(raw.scan_iter(f"{FORMAT}:replica:*")):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.02)


async def test_a_generated_id_is_never_refused_and_replaces_no_answer(server: RedisServer, raw: redis.Redis) -> None:
    async with answer_store(server.url) as store:
        await shared(store).claim(b"request")
        assert await shared(store).claim(b"") is None
        given = Key("alice", "given")
        own = await kept(store, given)
        with pytest.raises(RequestIdInUse):
            await shared(store, given).claim(b"")
        assert await found(store, given) == own


async def test_an_end_replaces_no_later_run_and_no_answer(server: RedisServer, raw: redis.Redis) -> None:
    failed = edit_pb2.GetEditResponse(request_id=KEY.request_id, state=edit_pb2.EDIT_STATE_FAILED)
    async with answer_store(server.url) as store, answer_store(server.url) as other:
        first, second = shared(store), shared(other)
        await first.claim(b"request")
        await second.claim(b"request")
        first.end(failed)
        await store.stop()
        seen = await other.find(KEY)
        assert seen is not None
        assert seen.is_running
        await second.keep(answer())
        third = shared(other)
        assert await third.claim(b"request") == answer()
        third.end(failed)
        assert await found(other) == answer()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:6379", "redis://HOST:PORT/DB"),
        ("redis://127.0.0.1:port", "the port 1 to 65535"),
        ("redis://127.0.0.1:6379/first", "redis://HOST:PORT/DB"),
        ("redis:///0", "redis://HOST:PORT/DB"),
        ("unix://", "unix:///PATH"),
        ("redis://127.0.0.1:6379/0?db=1", r"without '\?'"),
        ("redis://store.example.com", "unencrypted"),
        (f"redis://:{PASSWORD}@127.0.0.1", "IMGEDIT_ORCHESTRATOR_STORE_PASSWORD_FILE"),
        ("redis://someone@127.0.0.1", "IMGEDIT_ORCHESTRATOR_STORE_PASSWORD_FILE"),
    ],
)
async def test_an_address_that_cannot_be_meant_stops_the_start(url: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected) as caught:
        async with answer_store(url):
            pass
    assert caught.value.message.startswith("IMGEDIT_ORCHESTRATOR_STORE_URL")
    assert PASSWORD not in caught.value.message


async def test_what_the_store_refuses_stops_the_start(server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    with pytest.raises(SettingsError, match="the store refuses it: AUTH"):
        async with answer_store(server.url, store_password="of a store that has none"):
            pass
    with redis_server("--requirepass", PASSWORD) as locked:
        for wrong in ({}, {"store_password": "wrong"}):
            with pytest.raises(SettingsError, match="IMGEDIT_ORCHESTRATOR_STORE_PASSWORD_FILE: the store refuses it"):
                async with answer_store(locked.url, **wrong):
                    pass
        file.write_text(f"{PASSWORD}\n")
        async with answer_store(locked.url, store_password_file=str(file)) as store:
            own = await kept(store)
            assert await found(store) == own
    chosen = OrchestratorSettings(store_url="unix:///nowhere", store_password=PASSWORD)
    assert PASSWORD not in f"{chosen!r} {chosen}"


async def test_a_store_is_reached_over_tls_by_its_authority_alone(tmp_path: Path) -> None:
    trusted, other = Authority(tmp_path, "store"), Authority(tmp_path, "other")
    pair = trusted.issue("localhost")
    port = free_port()
    options = ["--tls-port", port, "--tls-cert-file", pair.certificate, "--tls-key-file", pair.key]
    options += ["--tls-ca-cert-file", trusted.certificate, "--tls-auth-clients", "no", "--bind", "127.0.0.1"]
    with redis_server(*map(str, options)):
        url = f"rediss://127.0.0.1:{port}/0"
        async with answer_store(url, store_tls_ca=str(trusted.certificate)) as store:
            assert await kept(store) == await found(store)
        async with answer_store(url, store_tls_ca=str(other.certificate)):
            assert REGISTRY.get_sample_value("imgedit_answer_store_lost") == 1
        with pytest.raises(SettingsError, match="IMGEDIT_ORCHESTRATOR_STORE_URL: the store refuses it: DB index"):
            async with answer_store(f"rediss://127.0.0.1:{port}/99", store_tls_ca=str(trusted.certificate)):
                pass


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"store_tls_ca": "/nowhere"}, "IMGEDIT_ORCHESTRATOR_STORE_TLS_CA has no effect"),
        ({"store_url": "rediss://store", "store_tls_ca": "/nowhere"}, "IMGEDIT_ORCHESTRATOR_STORE_TLS_CA: there is no"),
        ({"store_password_file": "/nowhere"}, "IMGEDIT_ORCHESTRATOR_STORE_PASSWORD_FILE: there is no file"),
        ({"store_password": "\n"}, "IMGEDIT_ORCHESTRATOR_STORE_PASSWORD: holds no password"),
    ],
)
async def test_settings_that_contradict_each_other_stop_the_start(settings: dict[str, str], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        async with answer_store(**{"url": settings.pop("store_url", "redis://127.0.0.1"), **settings}):
            pass


async def test_a_store_that_is_not_there_stops_no_start(tmp_path: Path) -> None:
    async with answer_store(f"unix://{tmp_path}/nothing") as store:
        assert REGISTRY.get_sample_value("imgedit_answer_store_lost") == 1
        await kept(store)
        assert await store.find(KEY) is None
