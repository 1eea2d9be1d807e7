"""Korean prompts through the whole stack.

Rewritten where the painting model does not read them, and told.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from demo.world.guide import EXPANSIONS, TRANSLATIONS
from imgedit import SyncEditClient
from imgedit.errors import RewriteFailed
from imgedit.v1 import edit_pb2

KOREAN = "배경을 현대적인 체육관으로 변경"
INPAINTING: Any = {"experiment": "ben2_flux_fill", "feature": "inpainting", "seed": 5, "steps": 10}


def pixels_of(answer: edit_pb2.EditResponse) -> bytes:
    """Without the metadata, which tells the prompt."""
    with Image.open(BytesIO(answer.output_image)) as opened:
        return opened.tobytes()


def stages_of(events: list[edit_pb2.EditEvent]) -> list[str]:
    return [event.stage.name for event in events if event.HasField("stage")]


def test_flux_paints_from_the_translation_of_a_korean_prompt(client: SyncEditClient, photo: Path) -> None:
    events: list[edit_pb2.EditEvent] = []
    korean = client.edit(photo, prompt=KOREAN, on_event=events.append, **INPAINTING)
    effective = korean.effective
    assert effective.prompt == TRANSLATIONS[KOREAN]
    assert effective.requested_prompt == KOREAN
    assert effective.prompt_rewrite == edit_pb2.PROMPT_REWRITE_TRANSLATED
    assert not effective.HasField("requested_negative_prompt")
    assert "Qwen2.5-VL" in [model.model_id for model in effective.models]
    assert stages_of(events) == ["segment", "rewrite_prompt", "mask", "fill", "composite"]
    assert "rewrite_prompt" in [timing.name for timing in korean.stage_timings]
    english = client.edit(photo, prompt=TRANSLATIONS[KOREAN], **INPAINTING)
    assert pixels_of(english) == pixels_of(korean)
    assert not english.effective.HasField("requested_prompt")
    assert english.effective.prompt_rewrite == edit_pb2.PROMPT_REWRITE_UNSPECIFIED


def test_two_korean_prompts_that_flux_cannot_tell_apart_paint_two_pictures(client: SyncEditClient, photo: Path) -> None:
    first, second = [
        client.edit(photo, prompt=prompt, **INPAINTING) for prompt in (KOREAN, "안경을 전체적인 색상으로 제거")
    ]
    assert first.effective.prompt != second.effective.prompt
    assert pixels_of(first) != pixels_of(second)


def test_a_korean_negative_prompt_is_translated_too(client: SyncEditClient, photo: Path) -> None:
    negative = "흐릿함, 여분의 손가락, 이상한 손"
    answer = client.edit(photo, prompt="a gym", negative_prompt=negative, **INPAINTING)
    assert answer.effective.negative_prompt == TRANSLATIONS[negative]
    assert answer.effective.requested_negative_prompt == negative
    assert not answer.effective.HasField("requested_prompt")


def test_the_direction_is_read_from_the_prompt_as_it_was_asked(client: SyncEditClient, photo: Path) -> None:
    prompt = "왼쪽에 운동 기구 추가"
    answer = client.edit(photo, experiment="ben2_flux_fill", feature="outpainting", prompt=prompt, seed=5, steps=10)
    assert answer.effective.outpaint.left > 0
    assert answer.effective.prompt == TRANSLATIONS[prompt]
    assert answer.effective.requested_prompt == prompt


def test_qwen_reads_korean_itself(client: SyncEditClient, photo: Path) -> None:
    answer = client.edit(photo, experiment="ben2_qwen_image", prompt=KOREAN, seed=5, steps=10)
    assert answer.effective.prompt == KOREAN
    assert not answer.effective.HasField("requested_prompt")
    assert "rewrite_prompt" not in [timing.name for timing in answer.stage_timings]


@pytest.mark.parametrize("prompt", ["배경 변경", "a gym"])
def test_a_prompt_is_written_out_where_asked(client: SyncEditClient, photo: Path, prompt: str) -> None:
    answer = client.edit(photo, prompt=prompt, expand_prompt=True, **INPAINTING)
    assert answer.effective.prompt == EXPANSIONS[prompt]
    assert answer.effective.requested_prompt == prompt
    assert answer.effective.prompt_rewrite == edit_pb2.PROMPT_REWRITE_EXPANDED


def test_what_the_model_cuts_off_a_prompt_is_told(client: SyncEditClient, photo: Path) -> None:
    answer = client.edit(photo, prompt="a bright modern gym with steel equipment " * 3, **INPAINTING)
    assert any("CLIP" in warning for warning in answer.warnings)


def test_a_failed_rewriting_names_its_stage(client: SyncEditClient, photo: Path) -> None:
    longer_than_an_answer_may_be = "ZEBRA " * 120
    with pytest.raises(RewriteFailed) as caught:
        client.edit(photo, prompt=f"티셔츠의 'GYM'을 '{longer_than_an_answer_may_be}'로 변경", **INPAINTING)
    assert caught.value.metadata["stage"] == "rewrite_prompt"


def test_the_list_tells_who_reads_and_who_translates(client: SyncEditClient) -> None:
    fill, qwen, cut_out = [experiment.features[0] for experiment in client.experiments()]
    assert list(fill.prompt_languages) == ["en"]
    assert {"ko", "zh"} <= set(fill.rewritten_languages)
    assert fill.rewrite_service == "qwen_edit"
    assert set(qwen.prompt_languages) == {"ko", "en", "zh"}
    assert not {"ko", "en", "zh"} & set(qwen.rewritten_languages)
    assert [*cut_out.prompt_languages, *cut_out.rewritten_languages] == []
    assert not cut_out.HasField("rewrite_service")
