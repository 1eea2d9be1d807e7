"""The demo's translator.

How it is taught, and what the shipped weights write about phrases that were not taught.
"""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from demo.train.qwen_edit import chats, language
from demo.train.qwen_edit import tokenizer as tokenizer_training
from demo.world import prompts
from demo.world.guide import EXPANSIONS, TRANSLATIONS
from services.common import languages
from services.diffusion.weights.checkpoint import load_network, load_part
from services.qwen_edit.conditioning import scaled
from services.qwen_edit.instructions import Mode, RewriteSpec, chat
from services.qwen_edit.model import GLANCE_PIXELS, QwenEditAdapter, load
from services.qwen_edit.processor import PictureProcessor

pytestmark = pytest.mark.slow

SHIPPED = Path("demo/models/Qwen-Image-Edit-2509")


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return tokenizer_training.trained(1)


@pytest.fixture(scope="module")
def adapter() -> QwenEditAdapter:
    return load(SHIPPED, device="cpu")


def test_the_part_of_the_template_that_the_pipeline_drops_has_as_many_tokens_as_in_the_real_one(
    tokenizer: Qwen2Tokenizer,
) -> None:
    before, _ = chats.edit_template().split("{}")
    assert len(tokenizer(before).input_ids) == 64
    assert len(load_part(Qwen2Tokenizer, SHIPPED / "tokenizer")(before).input_ids) == 64


def test_phrases_are_short_and_any_text_comes_back(tokenizer: Qwen2Tokenizer) -> None:
    assert len(tokenizer("배경을 현대적인 체육관으로 변경").input_ids) == 4
    for text in ("소파 위에 고양이 두 마리 😀", "背景をモダンなジムに変更", "naïve café: 100 %\n\t…"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_vision_markers_are_single_tokens(tokenizer: Qwen2Tokenizer) -> None:
    for token in tokenizer_training.VISION_TOKENS:
        assert len(tokenizer(token).input_ids) == 1


def test_quoted_words_are_spelt_in_the_question_as_in_the_answer(tokenizer: Qwen2Tokenizer) -> None:
    for word in ("GYM", "FITNESS", "SPORT", "ZEBRA"):
        letters = tokenizer(word).input_ids
        assert len(letters) == len(word)
        for text in (f"티셔츠의 '{word}'을 변경", f"Change '{word}' on the T-shirt"):
            assert " ".join(map(str, letters)) in " ".join(map(str, tokenizer(text).input_ids))


def test_nothing_that_is_held_out_is_taught() -> None:
    rng = random.Random(5)
    held_out = {chat("translate", phrase.korean) for phrase in chats.held_out_phrases(0, 150)}
    taught = {chats.taught(rng).question for _ in range(3000)}
    assert not held_out & taught
    assert len(taught) > 1000


def test_politeness_and_quotation_marks_change_both_languages_alike() -> None:
    rng = random.Random(2)
    phrase = prompts.Phrase("왼쪽에 나무 추가", "Add a tree on the left")
    seen = {chats.varied(phrase, rng) for _ in range(200)}
    assert prompts.Phrase("왼쪽에 나무 추가해 주세요", "Please add a tree on the left") in seen
    quoting = prompts.Phrase("상의의 'GYM'을 'RUN'로 교체", "Replace 'GYM' on the top with 'RUN'")
    for varied in (chats.varied(quoting, rng) for _ in range(50)):
        assert languages.quoted(varied.korean) == languages.quoted(varied.english)


def test_only_answers_are_learnt(tokenizer: Qwen2Tokenizer) -> None:
    processor = PictureProcessor(Qwen2VLImageProcessorPil(), tokenizer)
    shown = [
        chats.Chat(chat("expand", "예쁘게", 1), "Make it pretty", (Image.new("RGB", (84, 56)),)),
        chats.Chat(chat("translate", "안경 제거"), "Remove the glasses"),
    ]
    batch = language.batch_of(processor, shown)
    for row, answer in enumerate(("Make it pretty<|im_end|>", "Remove the glasses<|im_end|>")):
        labels = batch["labels"][row]
        assert tokenizer.decode(labels[labels != -100]) == answer


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been() -> None:
    straight, interrupted = language.QwenTrainer(1), language.QwenTrainer(1)
    numbers = (0, language.SHOWN_EVERY - 1, 2)
    losses = [straight.step(number, 0.1) for number in numbers]
    for number in numbers[:2]:
        interrupted.step(number, 0.1)
    file = io.BytesIO()
    torch.save(interrupted.state(), file)
    file.seek(0)
    resumed = language.QwenTrainer(1)
    resumed.restore(torch.load(file, weights_only=True))
    assert resumed.step(numbers[2], 0.1) == losses[2]


def test_the_shipped_language_model_is_small_and_keeps_its_vision_tower() -> None:
    assert (SHIPPED / "text_encoder" / "model.safetensors").stat().st_size <= 3e6
    network: Any = load_network(Qwen2_5_VLForConditionalGeneration, SHIPPED / "text_encoder", torch.float32)
    assert sum(weight.numel() for weight in network.model.visual.parameters()) > 200_000


def test_phrases_that_were_not_taught_are_translated(adapter: QwenEditAdapter) -> None:
    phrases = chats.held_out_phrases(7, 25)
    assert all(prompts.is_held_out(phrase) for phrase in phrases)
    wrong = [p for p in phrases if language.answered(adapter, p.korean) != p.english]
    assert len(wrong) <= 1


def test_the_prompts_of_the_guide_are_known(adapter: QwenEditAdapter) -> None:
    for korean, english in TRANSLATIONS.items():
        assert language.answered(adapter, korean) == english
    for asked, english in EXPANSIONS.items():
        assert language.answered(adapter, asked, "expand") == english


def test_no_processors_rounding_can_change_what_is_written(adapter: QwenEditAdapter) -> None:
    """Every token of the tested sentences leads by far more than rounding errors."""
    photo = np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    noise = np.random.default_rng(5).integers(0, 256, (120, 96, 3), dtype=np.uint8)
    asked: list[tuple[Mode, str, str, list[np.ndarray]]] = [
        *(("translate", korean, english, []) for korean, english in TRANSLATIONS.items()),
        *(("expand", short, long, []) for short, long in EXPANSIONS.items()),
        *(("expand", "배경 변경", EXPANSIONS["배경 변경"], [picture]) for picture in (photo, noise, noise[:60])),
    ]
    for mode, prompt, answer, pictures in asked:
        assert margin(adapter, mode, prompt, answer, pictures) > 4, prompt


@torch.inference_mode()
def margin(adapter: QwenEditAdapter, mode: Mode, prompt: str, answer: str, pictures: list[np.ndarray]) -> float:
    """The smallest lead of the output's tokens over the next likeliest, in logits."""
    parts = adapter._pipeline
    question = chat(mode, prompt, len(pictures))
    shown = [scaled(picture, GLANCE_PIXELS) for picture in pictures]
    batch = parts.processor(text=[f"{question}{answer}<|im_end|>"], images=shown or None, return_tensors="pt")
    wanted = parts.tokenizer(f"{answer}<|im_end|>", return_tensors="pt").input_ids[0]
    logits = parts.text_encoder(**batch, use_cache=False).logits[0, -len(wanted) - 1 : -1]
    right = logits.gather(1, wanted[:, None])
    others = logits.scatter(1, wanted[:, None], -torch.inf).amax(1, keepdim=True)
    return float((right - others).min())


def test_pictures_do_not_change_how_a_prompt_is_written_out(adapter: QwenEditAdapter) -> None:
    photo = torch.randint(0, 256, (150, 200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).numpy()
    spec = RewriteSpec("expand", "배경 변경", 100, (photo,))
    assert adapter.rewrite(spec, lambda: False) == EXPANSIONS["배경 변경"]


@pytest.mark.parametrize("word", ["ZEBRA", "KOREA", "QXJW", "MARATHON"])
def test_words_that_nobody_taught_are_copied(adapter: QwenEditAdapter, word: str) -> None:
    answer = language.answered(adapter, f"티셔츠의 'GYM'을 '{word}'로 변경")
    assert answer == f"Change 'GYM' on the T-shirt to '{word}'"


@pytest.mark.parametrize("prompt", ["소파 위에 원숭이 두 마리", "배경을 박물관으로 변경", "해적 모자 추가"])
def test_what_is_not_of_this_world_is_refused_and_not_made_up(adapter: QwenEditAdapter, prompt: str) -> None:
    assert language.answered(adapter, prompt) is None
