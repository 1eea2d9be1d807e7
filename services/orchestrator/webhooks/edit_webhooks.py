"""The webhooks of edits: checked with the request, sent at the edit's end."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imgedit.errors import EditCancelled, ImgeditError, InvalidArgument, from_status
from imgedit.v1 import edit_pb2
from services.common import calls
from services.orchestrator.webhooks.sender import Sender, Webhook
from services.orchestrator.webhooks.targets import FIELD, AllowedHost, read_target


@dataclass(frozen=True)
class Subject:
    """The edit that a webhook reports. started: on the `time.monotonic` clock."""

    request_id: str
    experiment_id: str
    feature_id: str
    started: float


class Webhooks:
    """Reports the ends of edits.

    hosts: the allowed ones. needed: the settings that would allow webhooks, if there is no sender.
    """

    def __init__(
        self, sender: Sender | None, hosts: tuple[AllowedHost, ...] = (), *, needed: str, drain_seconds: float = 0.0
    ) -> None:
        self._sender = sender
        self._hosts = hosts
        self._needed = needed
        self._drain_seconds = drain_seconds

    def check(self, request: edit_pb2.EditRequest) -> None:
        """Raise `InvalidArgument` for a webhook URL that is not sent to."""
        if not request.HasField(FIELD):
            return
        if self._sender is None:
            raise InvalidArgument.field(
                FIELD,
                f"this server sends no webhooks; its operator allows them by {self._needed}",
                korean="이 서버는 웹훅을 보내지 않습니다. 운영자가 설정해야 합니다.",
            )
        read_target(request.webhook_url, self._hosts)

    @contextmanager
    def told(self, request: edit_pb2.EditRequest, subject: Subject) -> Iterator[None]:
        """Report how the edit inside ends. The request is checked already."""
        if self._sender is None or not request.HasField(FIELD):
            yield
            return
        error: BaseException | None = None
        try:
            yield
        except asyncio.CancelledError:
            error = EditCancelled("the edit was cancelled")
            raise
        except Exception as raised:
            error = raised
            raise
        finally:
            body = _body(subject, error)
            target = read_target(request.webhook_url, self._hosts)
            self._sender.post(Webhook(target, f"msg_{uuid.uuid4().hex}", body))

    async def close(self) -> None:
        """Wait a bounded time for the webhooks that are on their way."""
        if self._sender is not None:
            await self._sender.close(self._drain_seconds)


def _body(subject: Subject, raised: BaseException | None) -> bytes:
    """The message: no picture and no prompt of the request."""
    error = from_status(calls.status_of(raised, subject.request_id)) if raised is not None else None
    data: dict[str, Any] = {
        "request_id": subject.request_id,
        "success": error is None,
        "experiment_id": subject.experiment_id,
        "feature_id": subject.feature_id,
        "seconds": round(time.monotonic() - subject.started, 3),
    }
    if error is not None:
        data["error"] = {"code": error.code.name, "reason": error.reason, "message": error.message}
    ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    message = {"type": _kind(error), "timestamp": ended.replace("+00:00", "Z"), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _kind(error: ImgeditError | None) -> str:
    if error is None:
        return "edit.succeeded"
    return "edit.cancelled" if isinstance(error, EditCancelled) else "edit.failed"
