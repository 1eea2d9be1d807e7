"""Tokens and certificates at real servers: admission, rejection, file changes."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY
from pydantic_settings import SettingsConfigDict

from imgedit import EditClient, SyncEditClient, file_watch, tokens
from imgedit.call_errors import error_of
from imgedit.errors import ImgeditError, ScopeMissing, ServiceUnavailable, SettingsError, Unauthenticated
from imgedit.tokens import Credential
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common import access, credentials
from services.common.access import OpenGate, ServiceGate, TokenGate
from services.common.call_context import caller
from services.common.server import RunningServer, Service
from services.common.settings import ModelSettings
from services.orchestrator.access import SCOPES, public_gate, service_channels
from services.orchestrator.settings import OrchestratorSettings
from tests.integration.authority import Authority, Pair

SERVICE_TOKEN = "s" * 40


class Servicer(edit_pb2_grpc.EditServiceServicer):
    """Answers with the caller's name where an answer has a text."""

    async def Edit(self, request: edit_pb2.EditRequest, context: object) -> edit_pb2.EditResponse:
        return edit_pb2.EditResponse(experiment_name=caller.get())

    async def EditStream(self, request: edit_pb2.EditRequest, context: object) -> AsyncIterator[edit_pb2.EditEvent]:
        for _ in range(3):
            yield edit_pb2.EditEvent(result=await self.Edit(request, context))
            await asyncio.sleep(request.steps / 10)

    async def CancelEdit(self, request: edit_pb2.CancelEditRequest, context: object) -> edit_pb2.CancelEditResponse:
        return edit_pb2.CancelEditResponse()

    async def ListExperiments(
        self, request: edit_pb2.ListExperimentsRequest, context: object
    ) -> edit_pb2.ListExperimentsResponse:
        return edit_pb2.ListExperimentsResponse()


def settings_of(**options: object) -> OrchestratorSettings:
    defaults: dict[str, object] = {"port": 0, "metrics_port": 0, "drain_seconds": 0, "grace_seconds": 5}
    return OrchestratorSettings(**{**defaults, **options})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[str]:
    """A server with the gate of the public API; its address."""
    settings = settings_of(**options)
    async with serving_with(settings, public_gate(settings)) as address:
        yield address


@asynccontextmanager
async def serving_with(settings: Any, gate: access.Gate) -> AsyncIterator[str]:
    def register(server: grpc.aio.Server) -> None:
        edit_pb2_grpc.add_EditServiceServicer_to_server(Servicer(), server)

    server = RunningServer(Service(("imgedit.v1.EditService",), register, gate=gate), settings)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.drain()


def token_file(folder: Path, *callers_and_scopes: tuple[str, Sequence[str]]) -> tuple[Path, list[str]]:
    """A file of new tokens, and the tokens."""
    made = [tokens.make_token(name, scopes) for name, scopes in callers_and_scopes]
    path = folder / "tokens"
    path.write_text("# callers\n\n" + "".join(f"{credential.line}  # a note\n" for _, credential in made))
    return path, [token for token, _ in made]


async def call(address: str, rpc: str = "Edit", **credentials: Any) -> Any:
    """One call; what fails is raised as the client raises it."""
    async with EditClient(address, **credentials) as client:
        stub = edit_pb2_grpc.EditServiceStub(client._channel)
        request = {
            "Edit": edit_pb2.EditRequest(),
            "CancelEdit": edit_pb2.CancelEditRequest(),
            "ListExperiments": edit_pb2.ListExperimentsRequest(),
        }[rpc]
        try:
            return await getattr(stub, rpc)(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, address) from None


async def with_metadata(address: str, *metadata: tuple[str, str]) -> ImgeditError | None:
    """The error of Edit with this metadata, if any."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await edit_pb2_grpc.EditServiceStub(channel).Edit(edit_pb2.EditRequest(), metadata=metadata, timeout=10)
        except grpc.aio.AioRpcError as error:
            return error_of(error, address)
    return None


async def until(holds: Callable[[], Any]) -> None:
    """Wait for what a change of a file brings about."""
    ends = time.monotonic() + 10
    while not await holds():
        assert time.monotonic() < ends, "it never came"
        await asyncio.sleep(0.1)


async def test_without_credentials_everybody_is_anonymous() -> None:
    async with serving() as address:
        assert (await call(address)).experiment_name == "anonymous"


async def test_a_token_names_its_caller_in_every_kind_of_rpc(tmp_path: Path) -> None:
    path, [token] = token_file(tmp_path, ("studio", ["edit", "list"]))
    async with serving(tokens_file=str(path)) as address, EditClient(address, token=token) as client:
        assert (await call(address, token=token)).experiment_name == "studio"
        events = [event async for event in client.edit_stream(edit_pb2.EditRequest())]
        assert [event.result.experiment_name for event in events] == ["studio"] * 3
        assert await client.experiments() == []


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Basic {token}"),),
        (("authorization", "{token}"),),
        (("authorization", "Bearer {token} {token}"),),
        (("authorization", "Bearer {token}x"),),
        (("authorization", "Bearer imgedit_" + "A" * 43),),
        (("authorization", "Bearer {token}"), ("authorization", "Bearer other")),
        (("x-authorization", "Bearer {token}"),),
    ],
)
async def test_a_call_without_a_known_token_is_refused(metadata: Sequence[tuple[str, str]], tmp_path: Path) -> None:
    path, [token] = token_file(tmp_path, ("studio", ["edit"]))
    async with serving(tokens_file=str(path)) as address:
        error = await with_metadata(address, *((key, value.format(token=token)) for key, value in metadata))
        assert type(error) is Unauthenticated
        assert token not in error.message
        assert error.request_id
        assert await with_metadata(address, ("authorization", f"bearer {token}")) is None


async def test_the_scopes_of_a_token_decide(tmp_path: Path) -> None:
    path, [edit, lists, admin] = token_file(tmp_path, ("a", ["edit"]), ("b", ["list"]), ("c", ["admin"]))
    async with serving(tokens_file=str(path)) as address:
        for token in (edit, admin):
            await call(address, "Edit", token=token)
            await call(address, "CancelEdit", token=token)
        for token in (lists, admin):
            await call(address, "ListExperiments", token=token)
        for rpc, token, scope in (("Edit", lists, "edit"), ("CancelEdit", lists, "edit")):
            with pytest.raises(ScopeMissing) as caught:
                await call(address, rpc, token=token)
            assert caught.value.metadata["scope"] == scope
        with pytest.raises(ScopeMissing, match="'list'"):
            await call(address, "ListExperiments", token=edit)


def test_every_public_rpc_has_a_scope_and_an_unknown_one_needs_admin() -> None:
    service = edit_pb2.DESCRIPTOR.services_by_name["EditService"]
    assert set(SCOPES) == {method.name for method in service.methods}
    token, credential = tokens.make_token("x", ["edit", "list"])
    gate = TokenGate(lambda: [credential], SCOPES)
    with pytest.raises(ScopeMissing, match="admin"):
        gate.admit("/imgedit.v1.EditService/DropEverything", [("authorization", f"Bearer {token}")])


async def test_health_is_open_and_reflection_needs_a_token(tmp_path: Path) -> None:
    path, [edit, lists] = token_file(tmp_path, ("a", ["edit"]), ("b", ["list"]))

    async def reflect(address: str, token: str | None) -> grpc.StatusCode:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        async with grpc.aio.insecure_channel(address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            reflecting = stub.ServerReflectionInfo(asked, metadata=metadata, timeout=10)
            with suppress(grpc.aio.AioRpcError):
                assert [len(answer.list_services_response.service) async for answer in reflecting] == [3]
            return await reflecting.code()  # type: ignore[no-any-return]

    async with serving(tokens_file=str(path)) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await reflect(address, None) == grpc.StatusCode.UNAUTHENTICATED
        assert await reflect(address, edit) == grpc.StatusCode.PERMISSION_DENIED
        assert await reflect(address, lists) == grpc.StatusCode.OK


async def test_a_refused_call_is_logged_and_counted_without_its_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = token_file(tmp_path, ("studio", ["edit"]))
    labels = {"service": "orchestrator", "rpc": "Edit", "code": "UNAUTHENTICATED", "reason": "UNAUTHENTICATED"}
    before = REGISTRY.get_sample_value("imgedit_rpc_errors_total", labels) or 0
    with caplog.at_level(logging.DEBUG):
        async with serving(tokens_file=str(path)) as address:
            await with_metadata(address, ("authorization", "Bearer a-guess"))
    assert REGISTRY.get_sample_value("imgedit_rpc_errors_total", labels) == before + 1
    [line] = [record.__dict__ for record in caplog.records if record.name == "imgedit.access"]
    assert (line["rpc"], line["code"], line["caller"]) == ("Edit", "UNAUTHENTICATED", "anonymous")
    assert "a-guess" not in caplog.text


async def test_a_stranger_is_refused_before_the_body_is_read(tmp_path: Path) -> None:
    path, _ = token_file(tmp_path, ("studio", ["edit"]))
    async with serving(tokens_file=str(path)) as address, grpc.aio.insecure_channel(address) as channel:
        # Nothing is ever written: a server that waited for the request would wait forever.
        silent = channel.stream_stream("/imgedit.v1.EditService/Edit")()
        assert await asyncio.wait_for(silent.code(), 10) == grpc.StatusCode.UNAUTHENTICATED


async def test_a_changed_token_file_is_read_again_and_a_bad_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, [first] = token_file(tmp_path, ("studio", ["edit"]))
    labels = {"service": "orchestrator", "what": "tokens"}
    before = REGISTRY.get_sample_value("imgedit_reload_failures_total", labels) or 0

    async def works(token: str) -> bool:
        return await with_metadata(address, ("authorization", f"Bearer {token}")) is None

    async def was_reported() -> bool:
        await works(first)
        return (REGISTRY.get_sample_value("imgedit_reload_failures_total", labels) or 0) == before + 1

    async with serving(tokens_file=str(path)) as address:
        path.write_text("studio sha256:broken edit\n")
        await until(was_reported)
        assert "tokens:1: the second word must be" in caplog.text
        assert await works(first)
        _, [second] = token_file(tmp_path, ("studio", ["edit"]))
        await until(lambda: works(second))
        assert not await works(first)
        path.unlink()
        await asyncio.sleep(file_watch.CHECK_SECONDS + 0.1)
        assert await works(second)


async def test_tokens_may_stand_in_the_environment() -> None:
    made = [tokens.make_token(name, ["edit"]) for name in ("a", "b")]
    async with serving(tokens="; ".join(credential.line for _, credential in made)) as address:
        for (token, _), name in zip(made, ("a", "b"), strict=True):
            assert (await call(address, token=token)).experiment_name == name


HEX = "ab" * 32


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("", "holds no token"),
        ("studio", r":1: must be 'NAME sha256:HEX SCOPE,SCOPE'"),
        (f"\nstudio md5:{HEX} edit", ":2: the second word"),
        (f"studio sha256:{HEX} edit,root", "'root' is not"),
        (f"anonymous sha256:{HEX} edit", "'anonymous'"),
        (f"a\x1b[31m sha256:{HEX} edit", "the name"),
        (f"a sha256:{HEX} edit\nb sha256:{HEX} list", ":2: duplicate token"),
    ],
)
def test_a_bad_token_file_stops_the_start_and_names_the_line(lines: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(lines)
    with pytest.raises(SettingsError, match=fault):
        public_gate(settings_of(tokens_file=str(path)))


def test_credentials_that_contradict_each_other_or_are_missing_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no file"):
        public_gate(settings_of(tokens_file=str(tmp_path / "none")))
    with pytest.raises(SettingsError, match="set one of them"):
        public_gate(settings_of(tokens_file=str(tmp_path), tokens="x"))
    with pytest.raises(SettingsError, match="at least 32"):
        service_channels(settings_of(service_token="short"))


def test_a_token_is_compared_with_every_credential_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [tokens.make_token(f"caller-{index}", ["edit"]) for index in range(5)]
    known = [credential for _, credential in made]
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(
        "services.common.access.hmac.compare_digest", lambda a, b: compared.append((a, b)) or real(a, b)
    )
    for token, expected in ((made[0][0], known[0]), ("unknown", None), (made[4][0], known[4])):
        compared.clear()
        assert access.find_credential(known, token) == expected
        assert [a for a, _ in compared] == [credential.digest for credential in known]
        assert {len(b) for _, b in compared} == {32}


def test_made_tokens_are_long_and_never_the_same() -> None:
    made = {tokens.make_token("x", ["edit"])[0] for _ in range(50)}
    assert len(made) == 50
    assert all(len(token) >= 43 and token.startswith("imgedit_") for token in made)
    token, credential = tokens.make_token("x", ["list", "edit"])
    assert token not in credential.line
    assert credentials.read_credentials([credential.line], "here") == (
        Credential("x", tokens.digest(token), frozenset({"edit", "list"})),
    )


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "company")


def tls(pair: Pair, **options: str) -> dict[str, str]:
    return {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key), **options}


async def test_a_call_over_tls_needs_the_authority(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    async with serving(**tls(authority.issue("server"))) as address:
        assert (await call(address, tls_ca=authority.certificate)).experiment_name == "anonymous"
        for wrong in ({"tls_ca": other.certificate}, {"tls": True}, {}):
            with pytest.raises(ServiceUnavailable):
                await call(address, **wrong)


async def test_an_expired_certificate_is_refused_by_the_client(authority: Authority) -> None:
    async with serving(**tls(authority.issue("server", expired=True))) as address:
        with pytest.raises(ServiceUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await call(address, tls_ca=authority.certificate)


async def test_mutual_tls_asks_for_a_certificate_of_the_right_authority(authority: Authority, tmp_path: Path) -> None:
    clients, other = Authority(tmp_path, "clients"), Authority(tmp_path, "other")
    good, foreign = clients.issue("studio"), other.issue("studio")
    expired = clients.issue("old", expired=True)
    options = tls(authority.issue("server"), tls_client_ca=str(clients.certificate))
    trust = {"tls_ca": authority.certificate}
    async with serving(**options) as address:
        answer = await call(address, **trust, client_certificate=good.certificate, client_key=good.key)
        assert answer.experiment_name == "studio"
        for shown in (foreign, expired):
            with pytest.raises(ServiceUnavailable):
                await call(address, **trust, client_certificate=shown.certificate, client_key=shown.key)
        with pytest.raises(ServiceUnavailable):
            await call(address, **trust)


async def test_a_certificate_may_have_to_carry_a_name(authority: Authority) -> None:
    orchestrator, stranger = authority.issue("orchestrator"), authority.issue("stranger")
    options = tls(
        authority.issue("server"), tls_client_ca=str(authority.certificate), tls_client_names="orchestrator, spare"
    )
    async with serving(**options) as address:
        for shown, refused in ((orchestrator, False), (stranger, True)):
            calling = call(
                address, tls_ca=authority.certificate, client_certificate=shown.certificate, client_key=shown.key
            )
            if refused:
                with pytest.raises(Unauthenticated, match="none of the names"):
                    await calling
            else:
                await calling


async def test_a_token_names_the_caller_also_over_mutual_tls(authority: Authority, tmp_path: Path) -> None:
    path, [token] = token_file(tmp_path, ("studio", ["edit"]))
    shown = authority.issue("laptop")
    options = tls(authority.issue("server"), tls_client_ca=str(authority.certificate), tokens_file=str(path))
    mutual = {"tls_ca": authority.certificate, "client_certificate": shown.certificate, "client_key": shown.key}
    async with serving(**options) as address:
        assert (await call(address, token=token, **mutual)).experiment_name == "studio"
        with pytest.raises(Unauthenticated):
            await call(address, **mutual)


async def test_a_renewed_certificate_is_used_and_running_calls_go_on(authority: Authority, tmp_path: Path) -> None:
    next_authority = Authority(tmp_path, "next")
    pair, renewed = authority.issue("server"), next_authority.issue("server")
    async with serving(**tls(pair)) as address, EditClient(address, tls_ca=authority.certificate) as client:
        stub = edit_pb2_grpc.EditServiceStub(client._channel)
        running: Any = stub.EditStream(edit_pb2.EditRequest(steps=20))  # 2 s between its events
        assert await running.read()
        pair.certificate.write_bytes(renewed.certificate.read_bytes())
        await asyncio.sleep(file_watch.CHECK_SECONDS)
        # The key is not there yet: the old pair stays in force.
        assert await call(address, tls_ca=authority.certificate)
        pair.key.write_bytes(renewed.key.read_bytes())

        async def is_renewed() -> bool:
            try:
                return bool(await call(address, tls_ca=next_authority.certificate))
            except ServiceUnavailable:
                return False

        await until(is_renewed)
        with pytest.raises(ServiceUnavailable):
            await call(address, tls_ca=authority.certificate)
        assert await running.read()
        assert await running.read()


async def test_a_client_shows_a_renewed_certificate_without_losing_a_call(authority: Authority, tmp_path: Path) -> None:
    shown, renewed = authority.issue("old-name"), authority.issue("new-name")
    options = tls(authority.issue("server"), tls_client_ca=str(authority.certificate))
    async with (
        serving(**options) as address,
        EditClient(
            address, tls_ca=authority.certificate, client_certificate=shown.certificate, client_key=shown.key
        ) as client,
    ):
        stub = edit_pb2_grpc.EditServiceStub(client._channel)
        running: Any = stub.EditStream(edit_pb2.EditRequest(steps=20))
        assert (await running.read()).result.experiment_name == "old-name"
        shown.certificate.write_bytes(renewed.certificate.read_bytes())
        shown.key.write_bytes(renewed.key.read_bytes())

        async def is_renewed() -> bool:
            return (await stub.Edit(edit_pb2.EditRequest())).experiment_name == "new-name"

        await until(is_renewed)
        assert (await running.read()).result.experiment_name == "old-name"
        assert await running.read()


def test_bad_tls_settings_stop_the_start(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.issue("a"), authority.issue("b")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    faults = {
        "set both": {"tls_certificate": str(pair.certificate)},
        "no file": tls(Pair(tmp_path / "none", pair.key)),
        "are not a PEM certificate and its unencrypted key": tls(Pair(pair.certificate, other.key)),
        "holds no PEM certificates": tls(pair, tls_client_ca=str(nonsense)),
        "TLS_CLIENT_CA has no effect": {"tls_client_ca": str(authority.certificate)},
        "TLS_CLIENT_NAMES has no effect": tls(pair, tls_client_names="orchestrator"),
    }
    for fault, options in faults.items():
        with pytest.raises(SettingsError, match=fault):
            RunningServer(Service((), lambda _: None), settings_of(**options))


# Addresses


class SomeModelSettings(ModelSettings):
    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_SEGMENTATION_")
    service = "segmentation"
    port: int = 0
    metrics_port: int = 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.1.2.3", "gpu-1", "127.0.0.1.example.com"])
def test_a_server_that_others_can_reach_needs_credentials(host: str) -> None:
    with pytest.raises(
        SettingsError, match=r"IMGEDIT_ORCHESTRATOR_TOKENS_FILE or .*_TLS_CLIENT_CA, or .*_INSECURE=true"
    ):
        access.check_exposure(settings_of(host=host), OpenGate())
    with pytest.raises(SettingsError, match="IMGEDIT_SEGMENTATION_SERVICE_TOKEN_FILE"):
        access.check_exposure(SomeModelSettings(host=host), OpenGate())
    access.check_exposure(settings_of(host=host, insecure=True), OpenGate())
    access.check_exposure(SomeModelSettings(host=host), ServiceGate(lambda: [SERVICE_TOKEN]))
    access.check_exposure(settings_of(host=host, tls_client_ca="ca.pem", tls_certificate="c.pem"), OpenGate())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_server_of_this_machine_needs_none(host: str) -> None:
    access.check_exposure(settings_of(host=host), OpenGate())


def test_tokens_without_tls_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    access.check_exposure(settings_of(host="0.0.0.0"), ServiceGate(lambda: [SERVICE_TOKEN]))
    assert "unencrypted" in caplog.text


async def test_a_client_sends_no_token_in_clear_to_another_machine() -> None:
    for target in ("10.1.2.3:50051", "dns:///edit.example.com:50051", "ipv4:127.0.0.1:1,10.0.0.1:1"):
        with pytest.raises(SettingsError, match="without TLS"):
            EditClient(target, token="secret")
    with pytest.raises(SettingsError, match="without TLS") as caught:
        SyncEditClient("edit.example.com:50051", token="secret")
    assert "secret" not in str(caught.value)
    for target in ("localhost:50051", "[::1]:50051", "ipv6:[::1]:50051", "dns:///127.0.0.1:50051", "unix:/run/x"):
        await EditClient(target, token="secret").close()
    await EditClient("edit.example.com:50051", token="secret", tls=True).close()


# The orchestrator and the model services


async def test_a_model_service_answers_the_orchestrator_only(tmp_path: Path) -> None:
    file = tmp_path / "service-token"
    file.write_text(f"{SERVICE_TOKEN}\n")
    settings = SomeModelSettings(service_token_file=str(file), drain_seconds=0)
    async with serving_with(settings, access.service_gate(settings)) as address:

        async def edit(**options: object) -> str:
            async with service_channels(settings_of(**options))(address) as channel:
                try:
                    answer = await edit_pb2_grpc.EditServiceStub(channel).Edit(edit_pb2.EditRequest(), timeout=10)
                except grpc.aio.AioRpcError as error:
                    return str(error.code().name)
                return str(answer.experiment_name)

        assert await edit(service_token_file=str(file)) == "orchestrator"
        assert await edit(service_token=SERVICE_TOKEN) == "orchestrator"
        assert await edit(service_token="x" * 40) == "UNAUTHENTICATED"
        assert await edit() == "UNAUTHENTICATED"


async def test_service_tokens_change_without_a_refused_call(tmp_path: Path) -> None:
    file, new = tmp_path / "service-token", "n" * 40
    file.write_text(SERVICE_TOKEN)
    settings = SomeModelSettings(service_token_file=str(file), drain_seconds=0)
    gate = access.service_gate(settings)

    def admits(token: str) -> bool:
        try:
            return gate.admit("/x/Y", [("authorization", f"Bearer {token}")]) == "orchestrator"
        except Unauthenticated:
            return False

    for step, (old_works, new_works) in {
        f"{SERVICE_TOKEN}\n{new}\n": (True, True),
        f"{new}\n": (False, True),
    }.items():
        file.write_text(step)
        await asyncio.sleep(file_watch.CHECK_SECONDS + 0.05)
        assert (admits(SERVICE_TOKEN), admits(new)) == (old_works, new_works)


async def test_the_orchestrator_shows_its_certificate_to_the_model_services(authority: Authority) -> None:
    shown, stranger = authority.issue("orchestrator"), authority.issue("stranger")
    options = tls(authority.issue("server"), tls_client_ca=str(authority.certificate), tls_client_names="orchestrator")
    settings = SomeModelSettings(**options, drain_seconds=0)
    async with serving_with(settings, access.service_gate(settings)) as address:
        for pair, expected in ((shown, "OK"), (stranger, "UNAUTHENTICATED"), (None, "UNAVAILABLE")):
            files = (
                {"services_tls_certificate": str(pair.certificate), "services_tls_key": str(pair.key)} if pair else {}
            )
            channels = service_channels(settings_of(services_tls_ca=str(authority.certificate), **files))
            async with channels(address) as channel:
                calling = edit_pb2_grpc.EditServiceStub(channel).Edit(edit_pb2.EditRequest(), timeout=10)
                assert (await calling.code()).name == expected


def test_the_service_token_does_not_leave_the_machine_without_tls(authority: Authority) -> None:
    options: dict[str, object] = {"service_token": SERVICE_TOKEN, "fill": "gpu-2:50053"}
    with pytest.raises(SettingsError, match="IMGEDIT_ORCHESTRATOR_FILL=gpu-2:50053: the service token would"):
        service_channels(settings_of(**options))
    service_channels(settings_of(**options, services_insecure=True))
    service_channels(settings_of(**options, services_tls_ca=str(authority.certificate)))
