"""PromptService with real gRPC.

The tiny Qwen2.5-VL generates what it has learnt, beside the edits of its service.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from demo.world.guide import EXPANSIONS, TRANSLATIONS
from imgedit.call_errors import error_of
from imgedit.errors import (
    DeadlineExceeded,
    ImageRejected,
    ImgeditError,
    InvalidArgument,
    PromptRejected,
    RewriteFailed,
    ServiceUnavailable,
)
from imgedit.inference.v1 import prompt_pb2, prompt_pb2_grpc, qwen_edit_pb2, qwen_edit_pb2_grpc
from services.common import pixels
from services.common.server import RunningServer
from services.qwen_edit.__main__ import make_service
from services.qwen_edit.instructions import RewriteSpec
from services.qwen_edit.model import QwenEditAdapter
from services.qwen_edit.settings import QwenEditSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

TRANSLATE, EXPAND = prompt_pb2.REWRITE_MODE_TRANSLATE, prompt_pb2.REWRITE_MODE_EXPAND
PHOTO = np.random.default_rng(5).integers(0, 256, (120, 96, 3), dtype=np.uint8)
KOREAN = "배경을 현대적인 체육관으로 변경"
ENDLESS = "강아지와 고양이와 토끼"
SPELT = "티셔츠의 'GYM'을 'FITNESS'로 변경"
"""Quoted words are written letter by letter: the answer has more than 16 tokens."""


def settings_for(models: Path, **changes: Any) -> QwenEditSettings:
    return QwenEditSettings(models=models, port=0, metrics_port=0, drain_seconds=0, grace_seconds=5, **changes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(models: Path) -> AsyncIterator[RunningServer]:
    settings = settings_for(models)
    running = RunningServer(make_service(settings), settings)
    await running.start()
    yield running
    await running.drain()


async def rewrite(
    server: RunningServer, prompt: str, mode: prompt_pb2.RewriteMode = TRANSLATE, *, timeout: float = 60, **fields: Any
) -> prompt_pb2.RewritePromptResponse:
    request = prompt_pb2.RewritePromptRequest(prompt=prompt, mode=mode, **fields)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return await prompt_pb2_grpc.PromptServiceStub(channel).RewritePrompt(request, timeout=timeout)


async def refusal(server: RunningServer, *arguments: Any, **fields: Any) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rewrite(server, *arguments, **fields)
    return error_of(caught.value, "qwen_edit")


async def test_the_prompts_of_the_guide_are_translated(server: RunningServer) -> None:
    for prompt, english in TRANSLATIONS.items():
        answer = await rewrite(server, prompt)
        assert answer.prompt == english
        assert answer.outcome == prompt_pb2.REWRITE_OUTCOME_TRANSLATED
        assert answer.source_language in ("ko", "ja", "zh")
        assert answer.model.model_id == "Qwen2.5-VL"
        assert [timing.name for timing in answer.timings] == ["queue", "generate"]


async def test_the_same_prompt_becomes_the_same_answer(server: RunningServer) -> None:
    unlearnt = "소파 위에 고양이 두 마리"
    first, second = [await outcome(server, unlearnt) for _ in range(2)]
    assert first == second


async def outcome(server: RunningServer, prompt: str) -> str:
    try:
        return (await rewrite(server, prompt)).prompt
    except grpc.aio.AioRpcError as raised:
        return error_of(raised, "qwen_edit").message


async def test_vague_prompts_are_written_out(server: RunningServer) -> None:
    for prompt, expanded in EXPANSIONS.items():
        answer = await rewrite(server, prompt, EXPAND)
        assert answer.prompt == expanded
        assert answer.outcome == prompt_pb2.REWRITE_OUTCOME_EXPANDED


async def test_pictures_may_be_given_to_write_a_prompt_out(server: RunningServer) -> None:
    for picture in (PHOTO, PHOTO[:60], PHOTO[:, :60].copy()):
        answer = await rewrite(server, "배경 변경", EXPAND, images=[pixels.to_message(picture)])
        assert answer.prompt == EXPANSIONS["배경 변경"]


@pytest.mark.parametrize("prompt", ["a bright modern gym", "Write '체육관' on the wall", "120 %", "un café  "])
async def test_a_prompt_that_fits_comes_back_unchanged_and_no_model_runs(server: RunningServer, prompt: str) -> None:
    answer = await rewrite(server, prompt, target_language="en")
    assert answer.prompt == prompt
    assert answer.outcome == prompt_pb2.REWRITE_OUTCOME_UNCHANGED
    assert not answer.HasField("model")
    assert not answer.timings


async def test_an_answer_that_loses_quoted_text_is_refused(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QwenEditAdapter, "rewrite", lambda *_: "Change 'GYM' on the T-shirt to 'ZEBRA 7'")
    error = await refusal(server, "티셔츠의 'GYM'을 'ZEBRA 77'로 변경")
    assert type(error) is RewriteFailed
    assert "quoted text number 2 of 2" in error.message
    assert "ZEBRA 77" not in error.message, "errors are logged, prompts are not"
    assert "English" in error.message


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mode": prompt_pb2.REWRITE_MODE_UNSPECIFIED}, "mode"),
        ({"mode": 9}, "mode"),
        ({"target_language": "fr"}, "target_language"),
        ({"images": [pixels.to_message(PHOTO)]}, "images"),
        ({"mode": EXPAND, "images": [pixels.to_message(PHOTO)] * 4}, "images"),
    ],
)
async def test_a_bad_field_is_named(server: RunningServer, fields: dict[str, Any], field: str) -> None:
    error = await refusal(server, KOREAN, **fields)
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == field


@pytest.mark.parametrize("prompt", ["", "  ", "가" * 2001, "체육관<|im_end|>", "<|image_pad|>"])
async def test_a_prompt_that_cannot_be_asked_is_rejected(server: RunningServer, prompt: str) -> None:
    assert type(await refusal(server, prompt)) is PromptRejected


async def test_a_picture_that_the_model_cannot_look_at_is_rejected(server: RunningServer) -> None:
    ribbon = pixels.to_message(np.zeros((16, 4000, 3), np.uint8))
    assert type(await refusal(server, KOREAN, EXPAND, images=[ribbon])) is ImageRejected


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The next answer has no end; set once the model writes it."""
    begun, write = threading.Event(), QwenEditAdapter.rewrite

    def write_on(adapter: QwenEditAdapter, spec: RewriteSpec, should_stop: Callable[[], bool]) -> str:
        if spec.prompt != ENDLESS:
            return write(adapter, spec, should_stop)
        begun.set()
        while not should_stop():
            time.sleep(0.001)
        return ""

    monkeypatch.setattr(QwenEditAdapter, "rewrite", write_on)
    return begun


async def test_the_callers_deadline_ends_the_generation(server: RunningServer, endless: threading.Event) -> None:
    error = await refusal(server, ENDLESS, timeout=0.5)
    assert isinstance(error, DeadlineExceeded)
    assert (await rewrite(server, KOREAN)).prompt == TRANSLATIONS[KOREAN]


async def test_a_caller_who_leaves_does_not_hold_up_the_next(server: RunningServer, endless: threading.Event) -> None:
    leaving = asyncio.create_task(rewrite(server, ENDLESS))
    assert await asyncio.to_thread(endless.wait, 30)
    leaving.cancel()
    assert (await rewrite(server, KOREAN)).prompt == TRANSLATIONS[KOREAN]


async def test_a_prompt_is_rewritten_between_the_steps_of_an_edit_and_changes_none_of_them(
    server: RunningServer,
) -> None:
    request = qwen_edit_pb2.QwenEditRequest(
        images=[pixels.to_message(PHOTO[:112])], prompt="a gym", steps=60, seed=3, true_cfg_scale=1.0
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        edits = qwen_edit_pb2_grpc.QwenEditServiceStub(channel)
        alone = [event async for event in edits.Edit(request)][-1].result.image.data
        steps_before, steps_after = 0, 0
        rewriting: asyncio.Task[Any] | None = None
        async for event in edits.Edit(request):
            if event.HasField("progress"):
                rewriting = rewriting or asyncio.create_task(rewrite(server, KOREAN))
                steps_before, steps_after = steps_before + (not rewriting.done()), steps_after + rewriting.done()
            elif event.HasField("result"):
                assert event.result.image.data == alone
        assert rewriting is not None
        assert (await rewriting).prompt == TRANSLATIONS[KOREAN]
    assert steps_after > 0, "the prompt had to wait for the edit's end"


async def test_too_many_tokens_and_too_much_time_are_refused(models: Path) -> None:
    for changes, why in (({"rewrite_tokens": 16}, "16 tokens"), ({"rewrite_seconds": 0.001}, "0.001 s")):
        settings = settings_for(models, **changes)
        running = RunningServer(make_service(settings), settings)
        await running.start()
        error = await refusal(running, SPELT)
        await running.drain()
        assert type(error) is RewriteFailed
        assert why in error.message


async def test_a_call_before_the_model_is_loaded_is_told_to_wait(models: Path) -> None:
    settings = settings_for(models)
    running = RunningServer(make_service(settings), settings)
    starting = asyncio.create_task(running.start())
    while running.port == 0:  # noqa: ASYNC110  # the server tells nobody that it has a port
        await asyncio.sleep(0.01)
    error = await refusal(running, "a gym")
    await starting
    await running.drain()
    assert type(error) is ServiceUnavailable
