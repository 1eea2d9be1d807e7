"""The demo's Qwen2.5-VL.

The real network at small sizes, taught to translate what people ask of the demo world.

It learns by teacher forcing on the very chats that the prompt service asks it, and answers by generation. Writes the
whole `Qwen-Image-Edit-2509` folder; its VAE and transformer have random weights until they are trained themselves.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from demo import world
from demo.tiny import qwen_edit as tiny
from demo.tiny.folder import seeded, write_index
from demo.train.qwen_edit import chats, tokenizer
from demo.train.qwen_edit.card import write_qwen_card
from demo.train.shared.loop import rng_of, train
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import QWEN, Options, note_run
from demo.train.shared.trainer import NetworkTrainer
from demo.world.guide import EXPANSIONS, TRANSLATIONS
from demo.world.prompts import Phrase, change_word
from imgedit.errors import RewriteFailed
from services.qwen_edit.instructions import Mode, RewriteSpec
from services.qwen_edit.model import QwenEditAdapter, load
from services.qwen_edit.processor import PictureProcessor
from services.qwen_edit.rewrite_check import judged

PART = "qwen_language"

WIDTH = 128
LAYERS = 4
HEADS = 4
VISION_WIDTH = 64

CHATS = 40
LENGTHS = 3
"""Chats of one batch are about equally long: of so many batches that are drawn together, sorted, one is taken."""

SHOWN_CHATS = 8
SHOWN_EVERY = 6
"""Every so many steps the chats are about pictures."""

LEARNING_RATE = 4e-3
MEASURED = 200
ANSWER_TOKENS = 100


def model(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """The network with random weights.

    Four text layers, two vision layers of which the second sees whole pictures.
    """
    token = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS // 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
            "bos_token_id": token["<|endoftext|>"],
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 2 * VISION_WIDTH,
            "num_heads": 4,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


class QwenTrainer(NetworkTrainer):
    """Learns from chats; the seed gives the tokenizer, which is not part of its state."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.tokenizer = tokenizer.trained(seed)
        self._processor = PictureProcessor(Qwen2VLImageProcessorPil(), self.tokenizer)
        with seeded(seed):
            network = model(self.tokenizer)
        network.train()
        network.set_attn_implementation("eager")  # of a few short chats: half the work of the fused one
        inside = {id(weight) for weight in network.model.language_model.layers.parameters() if weight.ndim == 2}
        super().__init__(network, lambda _, weight: id(weight) in inside, decay=0.998, lr=LEARNING_RATE)

    def step(self, number: int, progress: float) -> float:
        """One batch of chats."""
        rng = rng_of(self._seed, number)
        if number % SHOWN_EVERY == SHOWN_EVERY - 1:
            batch = [chats.shown(rng) for _ in range(SHOWN_CHATS)]
        else:
            drawn = sorted((chats.taught(rng) for _ in range(CHATS * LENGTHS)), key=lambda chat: len(chat.question))
            first = CHATS * rng.randrange(LENGTHS)
            batch = drawn[first : first + CHATS]
        with mixed_precision():
            loss = loss_of(self.network, batch_of(self._processor, batch))
        return self.learn(loss, number, progress)

    def sheet(self) -> Image.Image | None:
        """There is nothing to see."""
        return None

    def finish(self) -> None:
        """Keep the mean of the weights, and make the network ready for use."""
        super().finish()
        self.network.train(False)
        self.network.set_attn_implementation("sdpa")


def batch_of(processor: PictureProcessor, chats: Sequence[chats.Chat]) -> dict[str, Tensor]:
    """Chats as the network takes them, see `labelled`."""
    pictures = [picture for chat in chats for picture in chat.pictures]
    return labelled(processor, [chat.question for chat in chats], [chat.answer for chat in chats], pictures)


def labelled(
    processor: Any, asked: Sequence[str], answers: Sequence[str], pictures: Sequence[Image.Image]
) -> dict[str, torch.Tensor]:
    """Questions and their answers, padded at the right.

    `labels` are -100 outside the answers.
    """
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


def loss_of(network: Any, batch: dict[str, Tensor]) -> Tensor:
    """Mean cross-entropy of the answers' tokens; the logits of no others are computed."""
    labels = batch["labels"][:, 1:]
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    states = network.model(**inputs, use_cache=False).last_hidden_state[:, :-1]  # (B, L - 1, D)
    answers = labels != -100
    return functional.cross_entropy(network.lm_head(states[answers]).float(), labels[answers])


def run(options: Options) -> None:
    """Train it and write the folder."""
    trainer = QwenTrainer(options.seed)
    report = train(trainer, scratch=options.scratch / PART, budget=options.budget, resume=options.resume)
    trainer.finish()
    folder = options.out / QWEN
    write(folder, trainer, options.seed)
    note_run(folder, PART, report, seed=options.seed, **measured(folder), measured=MEASURED)
    write_qwen_card(folder)


def write(folder: Path, trainer: QwenTrainer, seed: int) -> None:
    """The folder in diffusers layout, every network in bfloat16."""
    image_processor = Qwen2VLImageProcessorPil()
    with seeded(seed):
        drawn = tiny.transformer_model()
        transformer = QwenImageTransformer2DModel.from_config({**drawn.config, "joint_attention_dim": WIDTH})
        vae = tiny.vae_model()
    for part, network in (("transformer", transformer), ("vae", vae), ("text_encoder", trainer.network)):
        halved: Any = torch.nn.Module.to(network, torch.bfloat16)
        halved.save_pretrained(folder / part)
    trainer.tokenizer.save_pretrained(folder / "tokenizer")
    trainer.tokenizer.save_pretrained(folder / "processor")
    image_processor.save_pretrained(folder / "processor")
    tiny.scheduler().save_pretrained(folder / "scheduler")
    write_index(folder, "QwenImageEditPlusPipeline", tiny.COMPONENTS)


def measured(folder: Path, count: int = MEASURED) -> dict[str, float]:
    """The quality of the written weights through the service's code, as shares of 1.

    translated: held-out phrases that become exactly their English. copied: held-out phrases with made-up quoted
    upper-case words, likewise. expanded: held-out phrases expanded. examples: the guide's prompts. refused: prompts
    with foreign, untrained words, whose output the service rejects.
    """
    adapter = load(folder, device="cpu")
    phrases = chats.held_out_phrases(0, count)
    rng = random.Random(world.HELD_OUT_SEEDS[1])
    quoting = [quote_made_up(rng) for _ in range(count // 2)]
    unknown = [chats.with_unknown(phrase, chats.UNKNOWN_HELD_OUT, rng) for phrase in phrases[: count // 2]]
    training_data: list[tuple[Mode, str, str]] = [
        ("translate", korean, english) for korean, english in TRANSLATIONS.items()
    ]
    training_data += [("expand", asked, english) for asked, english in EXPANSIONS.items()]
    return {
        "translated": share(answered(adapter, phrase.korean) == phrase.english for phrase in phrases),
        "copied": share(answered(adapter, phrase.korean) == phrase.english for phrase in quoting),
        "expanded": share(
            answered(adapter, phrase.korean, "expand") == chats.expanded(phrase) for phrase in phrases[: count // 2]
        ),
        "lessons": share(answered(adapter, asked, mode) == english for mode, asked, english in training_data),
        "refused": share(answered(adapter, prompt) is None for prompt in unknown),
    }


def answered(adapter: QwenEditAdapter, prompt: str, mode: Mode = "translate") -> str | None:
    """The service's response; None = it rejects the model's output."""
    try:
        return judged(adapter.rewrite(RewriteSpec(mode, prompt, ANSWER_TOKENS), lambda: False), prompt)
    except RewriteFailed:
        return None


def quote_made_up(rng: random.Random) -> Phrase:
    """A request to change a word, with two untrained upper-case words."""
    old, new = ("".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(3, 9))) for _ in range(2))
    return change_word(old, new, rng)


def share(flags: Iterator[bool]) -> float:
    """Of those that are true."""
    known = list(flags)
    return round(sum(known) / len(known), 4)
