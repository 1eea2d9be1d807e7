"""The stages that run beside the others, `segment` and `rewrite_prompt`, as tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from imgedit.errors import ImgeditError
from imgedit.remarks import Remark, Remarks
from services.orchestrator.chain.state import ChainState, Prompts, Subject
from services.orchestrator.request.parameters import EditParameters

T = TypeVar("T")


class ParallelStages:
    """Tasks of one edit that segment and rewrite prompts in parallel."""

    def __init__(self) -> None:
        self._subject: asyncio.Task[Subject] | None = None
        self._prompts: asyncio.Task[Prompts] | None = None

    def start_segmenting(self, work: Coroutine[Any, Any, Subject]) -> None:
        """Begin to look for the subject."""
        self._subject = _started(work)

    def start_rewriting(self, work: Coroutine[Any, Any, Prompts]) -> None:
        """Begin to rewrite the prompts."""
        self._prompts = _started(work)

    async def with_subject(self, state: ChainState) -> ChainState:
        """Add the subject, if the chain segments. Raises its errors."""
        return state.after(await self._subject) if self._subject else state

    async def with_prompts(self, state: ChainState) -> ChainState:
        """Add the rewritten prompts, if they are rewritten. Raises its errors."""
        return state.after(await self._prompts) if self._prompts else state

    async def subject(self) -> tuple[Subject | None, Remarks]:
        """The subject, or None and a warning: dependent stages would have failed."""
        try:
            return await self._subject if self._subject else None, ()
        except ImgeditError as error:
            remark = Remark(
                f"background_removed_image: the cut-out could not be made: {error.message}",
                f"피사체를 오려 낸 이미지를 만들지 못했습니다. {error.korean}",
            )
            return None, (remark,)

    async def prompts(self, asked: EditParameters) -> Prompts:
        """The prompts as the model saw them: rewritten, or as they were asked."""
        return await self._prompts if self._prompts else Prompts(asked.prompt, asked.negative_prompt)

    def cancel(self) -> None:
        """End what still runs."""
        for task in (self._subject, self._prompts):
            if task is not None:
                task.cancel()


def _started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    task.add_done_callback(_retrieve)
    return task


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve a failure that nobody awaits; asyncio would log it as lost."""
    if not task.cancelled():
        task.exception()
