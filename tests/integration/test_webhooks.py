"""Webhooks over real TLS: messages, retries, and hostile receivers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from imgedit.call_errors import error_of
from imgedit.errors import ImgeditError, InvalidArgument
from imgedit.v1 import edit_pb2
from services.orchestrator.webhooks.network import PublicNetwork
from services.orchestrator.webhooks.sender import Limits, Sender, Webhook
from services.orchestrator.webhooks.signature import read_secrets
from services.orchestrator.webhooks.targets import Target
from tests import manual

from .authority import Authority
from .scripted import eventually, request, world
from .webhook_receiver import HOST, Receiver, hang_up, network, never, receiver, status

pytestmark = pytest.mark.slow

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
LIMITS = Limits(waiting=8, at_once=4, tries=3, try_seconds=30, total_seconds=120, first_wait=0.01)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "trusted")


class Counts:
    """Ended webhooks since the start of a test."""

    def __init__(self) -> None:
        self._before = {outcome: self._now(outcome) for outcome in ("delivered", "refused", "failed", "dropped")}

    def __getitem__(self, outcome: str) -> int:
        return int(self._now(outcome) - self._before[outcome])

    def _now(self, outcome: str) -> float:
        return REGISTRY.get_sample_value("imgedit_webhooks_total", {"outcome": outcome}) or 0


@pytest.fixture
def counts() -> Counts:
    return Counts()


def sender(authority: Authority, reached: PublicNetwork | None = None, limits: Limits = LIMITS) -> Sender:
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    secrets = read_secrets([SECRET], "here")
    return Sender(reached or network(), tls, lambda: secrets, limits)


def webhook(at: Receiver, name: str = "msg_1", body: bytes = b"{}") -> Webhook:
    return Webhook(Target(HOST, at.port, "/in?key=1"), name, body)


def is_authentic() -> Callable[[dict[str, str], bytes, str], bool]:
    """The function that the manual shows to receivers."""
    found: dict[str, Any] = {}
    [code] = [block.code for block in manual.blocks(manual.ROOT / "docs/api.md") if "def is_authentic" in block.code]
    exec(code, found)
    return found["is_authentic"]  # type: ignore[no-any-return]


async def failure(call: Any) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value, "here")


async def test_success_failure_and_cancellation_are_told_with_a_signature_and_no_picture(authority: Authority) -> None:
    async with (
        receiver(authority) as at,
        world(
            webhook_hosts=f"{HOST}:{at.port}",
            webhook_secret=SECRET,
            webhook_tls_ca=str(authority.certificate),
            webhook_network=network(),
        ) as running,
    ):
        asked = {"webhook_url": at.url, "prompt": "a secret prompt"}
        await running.stub.Edit(request(request_id="good", n=2, **asked))
        await eventually(lambda: len(at.received) == 1)

        running.fill.faults = [grpc.StatusCode.RESOURCE_EXHAUSTED]
        refused = await failure(running.stub.Edit(request(request_id="bad", **asked)))
        await eventually(lambda: len(at.received) == 2)

        running.fill.gate.clear()
        running.fill.begun.clear()
        twice = [asyncio.ensure_future(running.stub.Edit(request(request_id="gone", **asked))) for _ in range(2)]
        await running.fill.begun.wait()
        await running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id="gone"))
        await asyncio.gather(*twice, return_exceptions=True)
        await eventually(lambda: len(at.received) == 3)

        running.fill.gate.set()
        await running.stub.Edit(request(request_id="silent"))

        messages = [json.loads(told.body) for told in at.received]
        assert [message["type"] for message in messages] == ["edit.succeeded", "edit.failed", "edit.cancelled"]
        assert [message["data"]["request_id"] for message in messages] == ["good", "bad", "gone"]
        assert [message["data"]["success"] for message in messages] == [True, False, False]
        assert messages[1]["data"]["error"]["reason"] == refused.reason
        assert messages[2]["data"]["error"]["code"] == "CANCELLED"
        for told, message in zip(at.received, messages, strict=True):
            data = message["data"]
            assert (data["experiment_id"], data["feature_id"]) == ("ben2_flux_fill", "inpainting")
            assert data["seconds"] >= 0
            assert told.first_line == "POST /in?key=1 HTTP/1.1"
            assert told.headers["content-type"] == "application/json"
            assert b"secret prompt" not in told.body
            assert len(told.body) < 1000
            assert is_authentic()(told.headers, told.body, SECRET)
            assert not is_authentic()(told.headers, told.body + b" ", SECRET)
            assert not is_authentic()(told.headers, told.body, SECRET.replace("A", "B"))
        assert len({told.headers["webhook-id"] for told in at.received}) == 3


async def test_a_url_that_is_not_called_is_refused_before_the_edit(authority: Authority) -> None:
    async with world() as running:
        refused = await failure(running.stub.Edit(request(webhook_url=f"https://{HOST}/")))
        assert isinstance(refused, InvalidArgument)
        for setting in ("IMGEDIT_ORCHESTRATOR_WEBHOOK_HOSTS", "IMGEDIT_ORCHESTRATOR_WEBHOOK_SECRET_FILE"):
            assert setting in refused.message
        assert running.fill.calls == 0
    async with world(webhook_hosts=HOST, webhook_secret=SECRET) as running:
        for call in (running.stub.Edit, running.stub.EstimateEdit):
            refused = await failure(call(request(webhook_url="https://elsewhere.example.com/")))
            assert [violation.field for violation in refused.violations] == ["webhook_url"]
        assert running.fill.calls == 0


async def test_faults_of_the_moment_are_retried_with_the_same_message(authority: Authority, counts: Counts) -> None:
    limits = Limits(waiting=8, at_once=4, tries=4, try_seconds=30, total_seconds=120, first_wait=0.01)
    async with receiver(authority) as at:
        at.script = [status(503), hang_up, status(429)]
        sending = sender(authority, limits=limits)
        sending.post(webhook(at, body=b'{"a":1}'))
        await eventually(lambda: counts["delivered"] == 1)
        assert len(at.received) == 4
        assert {(told.headers["webhook-id"], told.body) for told in at.received} == {("msg_1", b'{"a":1}')}
        assert all(is_authentic()(told.headers, told.body, SECRET) for told in at.received)
        await sending.close(0)


@pytest.mark.parametrize(
    ("answer", "outcome", "tries"),
    [
        (status(301, "location: https://hooks.example.com/other\r\n"), "refused", 1),
        (status(307, "location: https://127.0.0.1/\r\n"), "refused", 1),
        (status(400), "refused", 1),
        (status(410), "refused", 1),
        (status(500), "failed", 3),
        (hang_up, "failed", 3),
    ],
)
async def test_other_answers_end_it(
    answer: Any, outcome: str, tries: int, authority: Authority, counts: Counts
) -> None:
    async with receiver(authority) as at:
        at.script = [answer] * 3
        sending = sender(authority)
        sending.post(webhook(at))
        await eventually(lambda: counts[outcome] == 1)
        assert len(at.received) == tries
        assert {told.first_line for told in at.received} == {"POST /in?key=1 HTTP/1.1"}
        await sending.close(0)


async def test_a_slow_receiver_is_given_up(authority: Authority, counts: Counts) -> None:
    limits = Limits(waiting=8, at_once=4, tries=2, try_seconds=0.5, total_seconds=120, first_wait=0.01)
    async with receiver(authority) as at:
        at.script = [never, never]
        sending = sender(authority, limits=limits)
        sending.post(webhook(at))
        await eventually(lambda: counts["failed"] == 1)
        assert not sending._tasks
        await sending.close(0)


async def test_all_tries_together_have_a_time_limit(authority: Authority, counts: Counts) -> None:
    limits = Limits(waiting=8, at_once=4, tries=20, try_seconds=30, total_seconds=0.5, first_wait=30)
    async with receiver(authority) as at:
        at.script = [status(503)] * 20
        sending = sender(authority, limits=limits)
        sending.post(webhook(at))
        await eventually(lambda: counts["failed"] == 1)
        await sending.close(0)


async def test_an_endless_body_is_not_read(authority: Authority, counts: Counts) -> None:
    async with receiver(authority) as at:
        at.script = [at.endless]
        sending = sender(authority)
        sending.post(webhook(at))
        await eventually(lambda: counts["delivered"] == 1)
        async with asyncio.timeout(60):
            await at.left_early.wait()
        await sending.close(0)


async def test_a_full_queue_drops_and_never_waits(authority: Authority, counts: Counts) -> None:
    limits = Limits(waiting=2, at_once=1, tries=1, try_seconds=60, total_seconds=120)
    async with receiver(authority) as at:
        gate = asyncio.Event()

        async def held(writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await status(204)(writer)

        at.script = [held]
        sending = sender(authority, limits=limits)
        for number in range(4):
            sending.post(webhook(at, f"msg_{number}"))
        assert counts["dropped"] == 2
        assert REGISTRY.get_sample_value("imgedit_webhooks_in_flight") == 2
        gate.set()
        await eventually(lambda: counts["delivered"] == 2)
        assert [told.headers["webhook-id"] for told in at.received] == ["msg_0", "msg_1"]
        await sending.close(0)


async def test_the_end_waits_for_webhooks_on_their_way_and_drops_the_others(
    authority: Authority, counts: Counts
) -> None:
    async with receiver(authority) as at:
        sending = sender(authority)
        sending.post(webhook(at))
        await sending.close(60)
        assert counts["delivered"] == 1

        at.script = [never]
        sending = sender(authority)
        sending.post(webhook(at))
        await eventually(lambda: len(at.received) == 2)
        await sending.close(0)
        assert counts["dropped"] == 1


async def test_private_addresses_are_never_connected_to(authority: Authority, counts: Counts) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"]

    async with receiver(authority) as at:
        sending = sender(authority, PublicNetwork(resolve))
        sending.post(webhook(at))
        await eventually(lambda: counts["refused"] == 1)
        assert not at.received
        await sending.close(0)


async def test_a_name_that_changes_its_address_gains_nothing(authority: Authority, counts: Counts) -> None:
    async with receiver(authority) as at:
        at.script = [status(503)]
        sending = sender(authority, network("127.0.0.1", "127.0.0.2"))
        sending.post(webhook(at))
        await eventually(lambda: counts["refused"] == 1)
        assert len(at.received) == 1
        await sending.close(0)


async def test_the_certificate_must_be_for_the_host_and_of_a_known_authority(
    authority: Authority, counts: Counts, tmp_path: Path
) -> None:
    async with receiver(authority, "elsewhere.example.com") as at, receiver(Authority(tmp_path, "other")) as unknown:
        for number, wrong in enumerate((at, unknown), 1):
            sending = sender(authority)
            sending.post(webhook(wrong))
            await eventually(lambda expected=number: counts["failed"] == expected)
            assert not wrong.received
            await sending.close(0)
