"""Teaches the tiny Qwen2.5-VL its lessons by heart, so that rewriting a prompt is real generation.

The language half is trained on chats of `services.qwen_edit.instructions`; the vision half stays as it was drawn, and
chats with pictures of noise teach the answers not to depend on what is seen. Knows no service and no files.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from demo.tiny.lessons import EXPANSIONS, TRANSLATIONS
from services.qwen_edit.instructions import Mode, chat

EPOCHS = 80
MORE_EPOCHS = 20
LEARNING_RATE = 4e-3
WARM_UP = 20
CHATS_PER_BATCH = 4
PICTURE_SIZES = ((224, 224), (280, 168), (196, 252), (168, 280), (252, 196))


@dataclass(frozen=True)
class Lesson:
    """One prompt and the answer to give."""

    mode: Mode
    prompt: str
    answer: str
    pictures: tuple[Image.Image, ...] = ()


def train(model: Qwen2_5_VLForConditionalGeneration, processor: Any, seed: int) -> None:
    """Train the model in place until it knows the lessons; the same seed gives the same weights.

    processor: text and pictures → token ids and patches, as the service uses it.
    """
    generator = torch.Generator().manual_seed(seed)
    visual = {id(parameter) for parameter in model.model.visual.parameters()}
    learnt = [parameter for parameter in model.parameters() if id(parameter) not in visual]
    model.model.visual.requires_grad_(False)
    plain = list(batches(processor, spoken_lessons()))
    shown = [list(batches(processor, shown_lessons(generator, variant))) for variant in range(len(PICTURE_SIZES))]
    plan = [plain + shown[epoch // 2 % len(shown)] if epoch % 2 else plain for epoch in range(EPOCHS)]
    order = [epoch[index] for epoch in plan for index in torch.randperm(len(epoch), generator=generator).tolist()]
    optimizer = torch.optim.AdamW(learnt, lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, len(order)))
    model.train()
    for batch in order:
        step(model, batch, learnt, optimizer)
        schedule.step()
    everything = [*plain, *(batch for variant in shown for batch in variant)]
    for _ in range(MORE_EPOCHS):  # rounding differs between machines, and so does what is not learnt yet
        missed = [batch for batch in everything if not recites(model, batch)]
        if not missed:
            break
        for batch in (*missed, *plain):
            step(model, batch, learnt, optimizer)
    model.train(False).requires_grad_(True)


def step(model: Any, batch: dict[str, torch.Tensor], learnt: list[Any], optimizer: torch.optim.Optimizer) -> None:
    """Learn from one batch."""
    loss = model(**batch, use_cache=False).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learnt, 1.0)
    optimizer.step()


@torch.no_grad()
def recites(model: Any, batch: dict[str, torch.Tensor]) -> bool:
    """Whether the likeliest token is the right one, all along the answers of the batch."""
    likeliest = model(**batch, use_cache=False).logits[:, :-1].argmax(-1)
    labels = batch["labels"][:, 1:]
    return bool(((likeliest == labels) | (labels == -100)).all())


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: up over the first steps, then down along a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * step / steps))


def spoken_lessons() -> list[Lesson]:
    """Every lesson without pictures."""
    return [
        *(Lesson("translate", prompt, answer) for prompt, answer in TRANSLATIONS.items()),
        *(Lesson("expand", prompt, answer) for prompt, answer in EXPANSIONS.items()),
    ]


def shown_lessons(generator: torch.Generator, variant: int) -> list[Lesson]:
    """Every expansion with one picture of noise; the variant decides which has which shape."""
    lessons = []
    for index, (prompt, answer) in enumerate(EXPANSIONS.items(), start=variant):
        width, height = PICTURE_SIZES[index % len(PICTURE_SIZES)]
        noise = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        lessons.append(Lesson("expand", prompt, answer, (Image.fromarray(noise.numpy()),)))
    return lessons


def batches(processor: Any, lessons: list[Lesson]) -> Iterator[dict[str, torch.Tensor]]:
    """Lessons of about one length together, as the model takes them; only the answers are labelled."""
    lessons = sorted(lessons, key=lambda lesson: (lesson.mode, len((lesson.prompt + lesson.answer).encode())))
    for first in range(0, len(lessons), CHATS_PER_BATCH):
        yield batch_of(processor, lessons[first : first + CHATS_PER_BATCH])


def batch_of(processor: Any, lessons: list[Lesson]) -> dict[str, torch.Tensor]:
    """Lessons as the model takes them, see `labelled`."""
    asked = [chat(lesson.mode, lesson.prompt, len(lesson.pictures)) for lesson in lessons]
    pictures = [picture for lesson in lessons for picture in lesson.pictures]
    return labelled(processor, asked, [lesson.answer for lesson in lessons], pictures)


def labelled(
    processor: Any, asked: Sequence[str], answers: Sequence[str], pictures: Sequence[Image.Image]
) -> dict[str, torch.Tensor]:
    """Questions and their answers, padded at the right; `labels` are -100 outside the answers."""
    ended = [f"{answer}<|im_end|>" for answer in answers]
    made = processor(
        text=[question + answer for question, answer in zip(asked, ended, strict=True)],
        images=list(pictures) or None,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    labels = torch.full_like(made["input_ids"], -100)
    for row, answer in enumerate(ended):
        end = int(made["attention_mask"][row].sum())
        start = end - len(processor.tokenizer(answer).input_ids)
        labels[row, start:end] = made["input_ids"][row, start:end]
    return {**made, "labels": labels}
