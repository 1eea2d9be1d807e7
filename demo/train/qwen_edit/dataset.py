"""The encoded examples of Qwen-Image-Edit: latents and Qwen2.5-VL features.

Encoding happens once, a file per kind of example, with the service's own code for texts.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from rich.progress import track
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2Tokenizer

from demo.train.qwen_edit import examples
from demo.train.qwen_edit.examples import TrainingExample
from demo.train.qwen_edit.vae import PictureVae
from demo.train.shared.loop import console, rng_of
from demo.train.shared.pictures import Pixels
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import encoded_once
from demo.world import prompts
from services.diffusion.networks import flow
from services.diffusion.networks.conditioning_cache import ConditioningCache
from services.diffusion.networks.vae_pixels import to_tensor
from services.diffusion.weights.checkpoint import CPU, load_network, load_part
from services.qwen_edit.conditioning import CONDITION_PIXELS, MULTIPLE, Conditioner, Shape
from services.qwen_edit.processor import load_processor
from services.qwen_edit.text_encoder import load_text_encoder

MAX_TEXT = 80
"""Tokens of a text with its pictures, the template's system part left out."""

NEGATIVE_SHARE = 0.4
"""Of the examples' empty texts, those that are one of the guide's negative prompts instead."""


@dataclass(frozen=True, eq=False)
class LatentDataset:
    """Encoded training examples of one kind.

    N examples, K edits each, T tokens of an image and R of a reference. shapes: of the result, the image and the
    reference, in tokens. clean: (N, K, T, 64), the target; source: (N, T, 64); reference: (N, K, R, 64), R may be 0;
    texts: (N, K + 2, 80, D), the requests, then an empty text and the first edit's caption; lengths: (N, K + 2), of the
    texts.
    """

    shapes: list[Shape]
    clean: Tensor
    source: Tensor
    reference: Tensor
    texts: Tensor
    lengths: Tensor


class Encoder:
    """Encodes examples with a checkpoint folder's VAE and text encoder."""

    def __init__(self, folder: Path) -> None:
        tokenizer = load_part(Qwen2Tokenizer, folder / "tokenizer")
        vae = load_network(AutoencoderKLQwenImage, folder / "vae", torch.float32)
        pipeline = QwenImageEditPlusPipeline(
            scheduler=None,
            vae=None,
            text_encoder=load_text_encoder(folder / "text_encoder", torch.float32, CPU, "dense", ""),
            tokenizer=tokenizer,
            processor=load_processor(folder / "processor", tokenizer),
            transformer=None,
        )
        self._conditioner = Conditioner(
            pipeline,
            torch.device("cpu"),
            torch.float32,
            reference_pixels=1,  # the VAE is asked here, not there
            condition_pixels=CONDITION_PIXELS,
            cache=ConditioningCache("demo", 0),
        )
        self._mean, self._deviation = (
            torch.tensor(values)[:, None, None] for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        self._vae = PictureVae(vae).eval()

    @torch.inference_mode()
    def latents(self, pictures: Sequence[Pixels]) -> Tensor:
        """(B, N, 64): pictures of one size as the transformer takes them."""
        found = []
        for rgb in pictures:
            with mixed_precision():
                mean = self._vae.encode(to_tensor(rgb)).latent_dist.mean
            found.append(flow.pack((mean.float() - self._mean) / self._deviation))
        return torch.cat(found)

    @torch.inference_mode()
    def pixels(self, latents: Tensor, shape: Shape) -> Tensor:
        """(B, 3, H, W): the pictures of (B, N, 64)."""
        _, rows, columns = shape
        unpacked = flow.unpack(latents, 2 * rows, 2 * columns)
        found: Tensor = self._vae.decode(unpacked * self._deviation + self._mean).sample
        return found

    @torch.inference_mode()
    def text(self, prompt: str, pictures: Sequence[Pixels]) -> Tensor:
        """(L, D): the prompt with these pictures, as the service conditions an edit."""
        return self._conditioner.prompt(prompt, pictures)[0]

    def encoded(self, example: TrainingExample, blank: str) -> dict[str, Tensor]:
        """One example's tensors, see `LatentDataset`.

        blank: the empty text, or a negative prompt instead.
        """
        seen = [[example.source, *example.references[index : index + 1]] for index in range(len(example.results))]
        asked = [*zip(example.requests, seen, strict=True), (blank, seen[0]), (example.captions[0] or " ", seen[0])]
        texts = [self.text(prompt, pictures) for prompt, pictures in asked]
        if (longest := max(map(len, texts))) > MAX_TEXT:
            raise ValueError(f"a text has {longest} tokens, pictures included; {MAX_TEXT} are expected at most")
        clean = self.latents(example.results)
        nothing = clean[:, :0]
        return {
            "clean": clean.bfloat16(),
            "source": self.latents([example.source])[0].bfloat16(),
            "reference": (self.latents(example.references) if example.references else nothing).bfloat16(),
            "texts": torch.stack([functional.pad(text, (0, 0, 0, MAX_TEXT - len(text))) for text in texts]).bfloat16(),
            "lengths": torch.tensor([len(text) for text in texts]),
        }


def datasets(folder: Path, encoder: Encoder, seed: int) -> dict[str, LatentDataset]:
    """All kinds of examples, encoded where `folder` does not have them yet."""
    found = {}
    for name, kind in examples.KINDS.items():

        def encode(name: str = name, count: int = kind.count) -> Iterator[dict[str, Tensor]]:
            for number, example in enumerate(drawn(name, count)):
                yield encoder.encoded(example, blank_of(seed, number))

        found[name] = LatentDataset(shapes_of(kind), **encoded_once(folder, name, encode))
    return found


def drawn(name: str, count: int) -> Iterator[TrainingExample]:
    """The first examples of a kind, drawn in a second process during encoding."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        training_data = pool.map(partial(examples.example, name), range(count), chunksize=4)
        yield from track(training_data, name, count, console=console, disable=not console.is_terminal)


def blank_of(seed: int, number: int) -> str:
    """The unconditional text."""
    rng = rng_of(seed, number)
    if rng.random() >= NEGATIVE_SHARE:
        return " "
    phrase = prompts.negative(rng)
    return phrase.korean if rng.random() < examples.KOREAN_SHARE else phrase.english


def shapes_of(kind: examples.Kind) -> list[Shape]:
    """(1, rows, columns) of the answer, the picture and the reference."""
    sizes = [kind.size, kind.size, *([kind.reference] if kind.reference else [])]
    return [(1, height // MULTIPLE, width // MULTIPLE) for width, height in sizes]
