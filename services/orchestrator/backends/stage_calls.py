"""The call of a model service for one stage: the time left, the request id, and a second run when it was lost.

A run that ends with UNAVAILABLE, and no other, is done again once, within the deadline and with the same request, so
the answer is the same. Knows addresses and gRPC; knows nothing of what is sent.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit.call_errors import error_of, was_lost
from imgedit.errors import (
    DeadlineExceeded,
    EditCancelled,
    ImgeditError,
    InternalError,
    PermissionDenied,
    ServiceUnavailable,
    Unauthenticated,
    Violation,
)
from services.common import logs, tracing
from services.common.interceptors import REQUEST_ID_KEY
from services.orchestrator import metrics

T = TypeVar("T")

Attempt = Callable[[dict[str, Any]], Awaitable[T]]
"""Makes the call with these options and reads it to its end."""

MARGIN_SECONDS = 0.1
"""Kept back of the time left, so that a stage's refusal still reaches the caller."""

REFUSED_WAIT_SECONDS = 0.5
"""How long a service where nothing listens may take to come back; whoever waits for it should know soon."""

_HEALTH_POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)


class StageCalls:
    """Calls of the model services over their channels.

    A service that was lost during a call may take `rerun_wait_seconds` to be SERVING again; a balancer in front of
    several makes it so at once. `is_rerun_allowed` False = the whole edit is a second run already.
    """

    def __init__(
        self,
        channels: Mapping[str, grpc.aio.Channel],
        addresses: Mapping[str, str],
        *,
        rerun_wait_seconds: float,
        is_rerun_allowed: bool = True,
    ) -> None:
        self._channels = channels
        self._addresses = addresses
        self._rerun_wait_seconds = rerun_wait_seconds
        self._is_rerun_allowed = is_rerun_allowed

    def without_reruns(self) -> StageCalls:
        """The same, but every call is made once."""
        return StageCalls(
            self._channels, self._addresses, rerun_wait_seconds=self._rerun_wait_seconds, is_rerun_allowed=False
        )

    async def call(
        self,
        stage: str,
        service: str,
        deadline: float,
        attempt: Attempt[T],
        *,
        fields: Mapping[str, str] = MappingProxyType({}),
        on_rerun: Callable[[], None] = lambda: None,
    ) -> T:
        """One call, or two. Raises the class that the service raised, with the stage in its metadata.

        fields: what the caller of the edit calls the fields of the service, where that differs.
        """
        was_connected = self._state(service) is grpc.ChannelConnectivity.READY
        try:
            return await attempt(_options(stage, deadline))
        except grpc.aio.AioRpcError as raised:
            lost = self._named(stage, service, raised, fields)
            if not was_lost(raised) or not self._is_rerun_allowed:
                raise lost from None
        if not await self._is_back(service, self._wait_until(service, deadline, was_connected=was_connected)):
            raise lost
        metrics.STAGE_RERUNS.labels(stage).inc()
        tracing.note(is_rerun=True)
        _log.warning("stage lost, run again", extra={"stage": stage, "error": lost.message})
        on_rerun()
        try:
            return await attempt(_options(stage, deadline))
        except grpc.aio.AioRpcError as raised:
            raise self._named(stage, service, raised, fields) from None

    def _state(self, service: str) -> grpc.ChannelConnectivity:
        return self._channels[service].get_state()

    def _wait_until(self, service: str, deadline: float, *, was_connected: bool) -> float:
        """Until when a second run may begin: soon where nothing listened, later where the service broke down."""
        nothing_listened = not was_connected and self._state(service) is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        wait = REFUSED_WAIT_SECONDS if nothing_listened else self._rerun_wait_seconds
        return min(time.monotonic() + wait, deadline - MARGIN_SECONDS)

    async def _is_back(self, service: str, until: float) -> bool:
        """Wait until the service says SERVING. A balancer that does not answer such a question is taken for ready."""
        health = health_pb2_grpc.HealthStub(self._channels[service])
        while (left := until - time.monotonic()) > 0:
            try:
                response = await health.Check(health_pb2.HealthCheckRequest(), timeout=left, wait_for_ready=True)
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    return True
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    return True
            await asyncio.sleep(_HEALTH_POLL_SECONDS)
        return False

    def _named(self, stage: str, service: str, raised: grpc.aio.AioRpcError, fields: Mapping[str, str]) -> ImgeditError:
        address = self._addresses[service]
        error = error_of(raised, address)
        _rename(error, fields)
        if isinstance(error, EditCancelled | ServiceUnavailable):
            # CANCELLED that we did not ask for: the service ended during the call.
            error = ServiceUnavailable(
                f"stage {stage}: the {service} service at {address} cannot be reached or was lost "
                f"({raised.details()}); start it, or retry when its health is SERVING",
                korean=f"'{stage}' 단계의 {service} 서비스에 연결할 수 없습니다. 잠시 후 다시 시도하세요.",
            )
        if isinstance(error, Unauthenticated | PermissionDenied):
            _log.error("the service refuses the orchestrator", extra={"stage": stage, "error": error.message})
            error = InternalError(
                f"stage {stage}: the {service} service does not accept the orchestrator's credentials"
            )
        error.metadata["stage"] = stage
        return error


def _rename(error: ImgeditError, fields: Mapping[str, str]) -> None:
    """Name the fields at fault as the edit's caller does, in the texts, too."""
    violations = []
    for violation in error.violations:
        inner = violation.field
        name, dot, rest = inner.partition(".")
        outer = fields.get(inner) or f"{fields.get(name, name)}{dot}{rest}"
        violations.append(Violation(outer, violation.description))
        error.message = _begun_with(outer, inner, error.message)
        error.korean = _begun_with(outer, inner, error.korean)
    error.violations = tuple(violations)


def _begun_with(outer: str, inner: str, text: str) -> str:
    return outer + text.removeprefix(inner) if re.match(re.escape(inner) + r"[: ]", text) else text


def _options(stage: str, deadline: float) -> dict[str, Any]:
    left = deadline - time.monotonic() - MARGIN_SECONDS
    if left <= 0:
        raise DeadlineExceeded(f"the deadline passed before stage {stage}", metadata={"stage": stage})
    return {"timeout": left, "metadata": ((REQUEST_ID_KEY, logs.request_id.get()), *tracing.metadata())}
