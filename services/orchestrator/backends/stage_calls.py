"""Call a model service for one stage: deadline, request id, and one rerun.

Only a call that ends with UNAVAILABLE is repeated, once, within the deadline and with the same request, so the result
is the same.
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
"""How long a service without a listener may take to come back; its callers should know soon."""

_HEALTH_POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)


class StageCalls:
    """Calls of the model services over their channels.

    A service that was lost during a call has `rerun_wait_seconds` to become SERVING; behind a balancer with several
    replicas that is immediate. `is_rerun_allowed` False: the whole edit is a second attempt.
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
        """The same calls without reruns."""
        return StageCalls(
            self._channels, self._addresses, rerun_wait_seconds=self._rerun_wait_seconds, is_rerun_allowed=False
        )

    async def run(
        self,
        stage: str,
        service: str,
        deadline: float,
        attempt: Attempt[T],
        *,
        fields: Mapping[str, str] = MappingProxyType({}),
        on_rerun: Callable[[], None] = lambda: None,
    ) -> T:
        """Make one call, or two.

        Raises the service's error with the stage in its metadata. fields: maps the service's field names to the
        request's, where they differ.
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
        """The time limit for a rerun: shorter if nothing listened than after a crash."""
        nothing_listened = not was_connected and self._state(service) is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        wait = REFUSED_WAIT_SECONDS if nothing_listened else self._rerun_wait_seconds
        return min(time.monotonic() + wait, deadline - MARGIN_SECONDS)

    async def _is_back(self, service: str, until: float) -> bool:
        """Wait until the service is SERVING.

        A balancer that does not answer health checks counts as ready.
        """
        health = health_pb2_grpc.HealthStub(self._channels[service])
        while (left := until - time.monotonic()) > 0:
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=left, wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
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
            # CANCELLED without our request: the service ended during the call.
            error = ServiceUnavailable(
                f"stage {stage}: the {service} service at {address} cannot be reached or was lost "
                f"({raised.details()}); start it, or retry when its health is SERVING",
                korean=f"{service} 서비스가 응답하지 않습니다(작업: {stage}). 잠시 후 다시 시도하세요.",
            )
        if isinstance(error, Unauthenticated | PermissionDenied):
            _log.error("the service refuses the orchestrator", extra={"stage": stage, "error": error.message})
            error = InternalError(
                f"stage {stage}: the {service} service does not accept the orchestrator's credentials"
            )
        error.metadata["stage"] = stage
        return error


def _rename(error: ImgeditError, fields: Mapping[str, str]) -> None:
    """Rename the violated fields to the request's names, in the texts too."""
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
