"""The operator's content policy.

A callable that allows, flags or refuses a prompt or a result. Without a verdict nothing is returned.

    # house/rules.py, with IMGEDIT_ORCHESTRATOR_CONTENT_POLICY=house.rules:judge
    from services.orchestrator.policy import ALLOW, Review, Verdict

    def judge(review: Review) -> Verdict:
        if review.picture is None and "passport" in review.prompt.lower():
            return Verdict("refuse", "documents are not edited here")
        return ALLOW
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from imgedit.errors import ContentRefused, InternalError, SettingsError
from imgedit.imaging.images import Pixels
from services.common import logs
from services.common.call_context import caller
from services.orchestrator import metrics

MAX_THREADS = 4
MAX_MESSAGE_CHARACTERS = 500

_log = logging.getLogger("imgedit.policy")


@dataclass(frozen=True)
class Review:
    """The prompt before any work, or, with `picture`, the result (H, W, 3) uint8.

    `picture` is read-only. `negative_prompt` is None if there is none. `model_prompt` comes with a picture: the prompt
    as the model saw it, after translation or expansion.
    """

    caller: str
    experiment: str
    feature: str
    prompt: str
    negative_prompt: str | None
    picture: Pixels | None = None
    model_prompt: str | None = None

    @property
    def subject(self) -> Literal["prompt", "result"]:
        """The subject of the review, as a word."""
        return "prompt" if self.picture is None else "result"


@dataclass(frozen=True)
class Verdict:
    """The decision.

    `message` and `korean` go to the caller of a rejected edit; `message` also goes to the log.
    """

    decision: Literal["allow", "flag", "refuse"]
    message: str = ""
    korean: str | None = None


ALLOW = Verdict("allow")

Judge = Callable[[Review], Verdict | Awaitable[Verdict]]


class Policy:
    """Calls `judge`.

    A plain function runs in separate threads, so a slow one delays only edits.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="policy")

    async def check(self, review: Review) -> None:
        """Return if the review is allowed or flagged.

        Raises `ContentRefused` if it is refused, `InternalError` if `judge` fails or returns no verdict.
        """
        verdict = await self._verdict(review)
        metrics.POLICY_VERDICTS.labels(review.subject, verdict.decision).inc()
        if verdict.decision == "allow":
            return
        _log.warning("%s: %s", verdict.decision, verdict.message, extra=_whose(review))
        if verdict.decision == "refuse":
            message = verdict.message or f"the content policy of this service refuses the {review.subject}"
            raise ContentRefused(message[:MAX_MESSAGE_CHARACTERS], korean=verdict.korean)

    def close(self) -> None:
        """Shut down without waiting for running policy calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _verdict(self, review: Review) -> Verdict:
        try:
            verdict = await self._ask(review)
            if not isinstance(verdict, Verdict) or verdict.decision not in ("allow", "flag", "refuse"):
                raise TypeError(f"the content policy must return a Verdict, not {type(verdict).__name__}")
        except Exception as raised:  # noqa: BLE001  # whatever the operator's code raises: fail closed
            metrics.POLICY_VERDICTS.labels(review.subject, "failed").inc()
            # Without the exception's text, which may quote the prompt.
            where = "".join(traceback.format_tb(raised.__traceback__)[-3:])
            _log.error("the policy failed: %s", type(raised).__name__, extra={**_whose(review), "where": where})
            raise InternalError(
                f"the content policy could not judge the {review.subject}, so nothing is returned; quote request id "
                f"{logs.request_id.get()}"
            ) from None
        return verdict

    async def _ask(self, review: Review) -> Any:
        if inspect.iscoroutinefunction(self._judge):
            return await self._judge(review)
        run = contextvars.copy_context().run
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, run, self._judge, review)
        return await answer if inspect.isawaitable(answer) else answer


def review(
    experiment: str,
    feature: str,
    prompt: str,
    negative_prompt: str | None,
    picture: Pixels | None = None,
    model_prompt: str | None = None,
) -> Review:
    """A review on behalf of the current caller."""
    if picture is not None:
        picture = picture.view()
        picture.setflags(write=False)
    return Review(caller.get(), experiment, feature, prompt, negative_prompt, picture, model_prompt)


def load(name: str) -> Policy:
    """Load the policy named "package.module:function".

    Raises `SettingsError` if there is none.
    """
    module_name, _, attribute = name.partition(":")
    try:
        judge = getattr(importlib.import_module(module_name), attribute)
    except Exception as raised:  # noqa: BLE001  # importing runs the operator's code
        raise SettingsError(
            f"the content policy {name!r} cannot be loaded: {type(raised).__name__}: {raised}"
        ) from None
    if not callable(judge):
        raise SettingsError(f"the content policy {name!r} is not callable")
    return Policy(judge)


def _whose(review: Review) -> dict[str, str]:
    return {
        "caller": review.caller,
        "experiment": review.experiment,
        "feature": review.feature,
        "subject": review.subject,
    }
