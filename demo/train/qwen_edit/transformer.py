"""The demo's Qwen-Image-Edit.

The real transformer class, small, taught by flow matching to edit as it is asked.

Its language model and its VAE must be trained before; see `language.py` and `vae.py`. Writes the transformer, and the
picture size at which the language model looks at pictures.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.transformers import transformer_qwenimage
from PIL import Image
from torch import Tensor, nn
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from demo import world
from demo.tiny.folder import seeded
from demo.tiny.qwen_edit import scheduler
from demo.train.qwen_edit import examples
from demo.train.qwen_edit.card import write_qwen_card
from demo.train.qwen_edit.dataset import Encoder, LatentDataset, datasets, shapes_of
from demo.train.shared import distributed, pictures
from demo.train.shared.attention import attention_written_out
from demo.train.shared.loop import generator_of, rng_of, train
from demo.train.shared.loss_weights import changed, emphasis
from demo.train.shared.noise_levels import first_levels, noise_level, with_trace
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import QWEN, Options, note_run
from demo.train.shared.trainer import Batch, NetworkTrainer, silence
from services.diffusion.networks import flow
from services.diffusion.networks.vae_pixels import to_uint8
from services.qwen_edit.conditioning import Shape

PART = "qwen_edit"

WIDTH = 128
HEADS = 4
BLOCKS = 6
TEXT_WIDTH = 128
ROPE = (4, 14, 14)
LEARNING_RATE = 4e-3

LEAST_GLANCE_PIXELS, GLANCE_PIXELS = 56 * 56, 84 * 84
"""Areas at which the language model looks at pictures: at most nine of its tokens for a square one."""

TOKENS_PER_BATCH = 3600
TEXT_TOKENS = 40
"""Of a text, about: for the size of a batch."""

SMALL_FIRST = 0.4
"""The part of the run that is mostly about small pictures."""

WEIGHTS = {
    "close": (8, 2),
    "hands": (9, 5),
    "handing": (2, 10),
    "words": (14, 5),
    "faces": (2, 1),
    "small": (6, 0.5),
    "whole": (2, 10),
    "anywhere": (0, 5),
    "narrow": (0, 0.5),
    "small like": (3, 0.5),
    "like": (0.5, 2),
}
"""How often each kind of example comes, in the first and in the second part."""

SILENT_SHARE = 0.45
"""Guidance multiplies what the silent pass gets wrong, so that must be learnt as well as the asked one."""

CAPTIONED_SHARE = 0.25
"""Share of the unconditional examples with a caption instead of nothing."""

KEPT_WEIGHT = 0.25
"""Loss weight of a token that the edit leaves unchanged."""

SAME_PLACE_HEADS = 2
SAME_PLACE_GAIN = 1.6

SHEET_STEPS = 12


def transformer_model() -> QwenImageTransformer2DModel:
    """The network before it has learnt anything.

    Each block begins as one that changes nothing, and what comes out is 0. Two heads of each block look from a token of
    the answer at the token of the picture that is in the same place, since most of a picture stays as it is.
    """
    transformer = QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=BLOCKS,
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        axes_dims_rope=ROPE,
        joint_attention_dim=TEXT_WIDTH,
    )
    for block in transformer.transformer_blocks:
        silence((block.img_mod[1], block.txt_mod[1]))
        _look_at_the_same_place(block.attn)
    silence((transformer.norm_out.linear, transformer.proj_out))
    return transformer


@torch.no_grad()
def _look_at_the_same_place(attention: Any) -> None:
    """Initialise a few heads to attend to the same row and column of the next image.

    With constant query and key, their product is the cosine of the angle between the rotary positions; one more radian
    on the first axis turns the query to the next image.
    """
    frame, row, column = 0, ROPE[0], ROPE[0] + ROPE[1]
    places = [row, row + 2, column, column + 2]
    key = torch.zeros(WIDTH // HEADS)
    key[[frame, *places]] = 1.0
    query = key.clone()
    query[[frame, frame + 1]] = torch.tensor([math.cos(1.0), math.sin(1.0)])
    for projection, wanted in ((attention.to_q, query), (attention.to_k, key)):
        rows = SAME_PLACE_HEADS * (WIDTH // HEADS)
        projection.weight[:rows] *= 0.1
        projection.bias[:rows] = wanted.repeat(SAME_PLACE_HEADS)
    for norm in (attention.norm_q, attention.norm_k):
        norm.weight[[frame, frame + 1, *places]] = SAME_PLACE_GAIN


def is_matrix(name: str, weight: nn.Parameter) -> bool:
    """Whether Muon learns it.

    Matrices of the blocks, but for those of the last one whose output nothing reads.
    """
    unread = name.startswith(f"transformer_blocks.{BLOCKS - 1}.") and any(
        part in name for part in ("txt_mlp", "to_add_out", "add_q_proj")
    )
    return name.startswith("transformer_blocks.") and weight.ndim == 2 and not unread


class EditTrainer(NetworkTrainer):
    """Learns from examples, which are not part of its state.

    encoder: for sample sheets, None = none.
    """

    def __init__(
        self,
        seed: int,
        training_data: dict[str, LatentDataset],
        network: QwenImageTransformer2DModel,
        encoder: Encoder | None = None,
    ) -> None:
        self._seed, self._training_data, self._encoder = seed, training_data, encoder
        super().__init__(network, is_matrix, decay=0.998, lr=LEARNING_RATE)

    def step(self, number: int, progress: float) -> float:
        """One batch of examples of one kind."""
        rng, generator = rng_of(self._seed, number), generator_of(self._seed, number)
        part = 0 if progress < SMALL_FIRST else 1
        name = rng.choices(list(self._training_data), [WEIGHTS[kind][part] for kind in self._training_data])[0]
        batch = draw(self._training_data[name], generator)
        with mixed_precision():
            found = velocity(self.network, *batch.inputs)
        return self.learn(batch.loss(found), number, progress)

    def sheet(self) -> Image.Image | None:
        """Held-out examples as the mean of the weights edits them now."""
        if self._encoder is None:
            return None
        with self._average.in_place():
            return samples(self.network, self._encoder)


def velocity(
    network: QwenImageTransformer2DModel,
    latents: Tensor,
    seen: Tensor,
    sigma: Tensor,
    texts: Tensor,
    mask: Tensor,
    shapes: list[Shape],
) -> Tensor:
    """(B, N, 64).

    latents: (B, N, 64); seen: (B, M, 64), the images; sigma: (B,); texts: (B, L, D); mask: (B, L).
    """
    made: Tensor = network(
        hidden_states=torch.cat([latents, seen], dim=1),
        timestep=sigma,
        encoder_hidden_states=texts,
        encoder_hidden_states_mask=mask,
        img_shapes=[shapes] * len(latents),
        return_dict=False,
    )[0]
    return made[:, : latents.shape[1]]


def draw(dataset: LatentDataset, generator: torch.Generator) -> Batch:
    """Training examples at random noise levels.

    Some have, beside the noise, a trace of the picture to be edited, as an edit of a strength below 1 has. Some have no
    request, or a caption instead, which is what the pass for a negative prompt is given.
    """
    rows, which = some(dataset, generator)
    size, length = len(rows), dataset.source.shape[1]
    silent = torch.rand(size, generator=generator) < SILENT_SHARE
    captioned = torch.rand(size, generator=generator) < CAPTIONED_SHARE
    which[silent] = 0
    text = torch.where(silent, dataset.clean.shape[1] + captioned.long(), which)
    clean, source = dataset.clean[rows, which].float(), dataset.source[rows].float()
    noise = torch.randn(clean.shape, generator=generator)
    levels = noise_level(scheduler().config, size, length, generator)
    noise, levels = with_trace(noise, levels, first_levels(size, generator), source, clean)
    level = levels[:, None, None]
    texts, mask = texts_of(dataset, rows, text)
    seen = torch.cat([source, dataset.reference[rows, which].float()], dim=1)
    inputs = ((1 - level) * clean + level * noise, seen, levels, texts, mask, dataset.shapes)
    return Batch(inputs, noise - clean, weight_of(clean, source))


def some(dataset: LatentDataset, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers of examples and of their edits for one batch."""
    count, variants, length, _ = dataset.clean.shape
    size = max(1, TOKENS_PER_BATCH // (2 * length + dataset.reference.shape[2] + TEXT_TOKENS))
    rows = torch.randint(count, (size,), generator=generator)
    return rows, torch.randint(variants, (size,), generator=generator)


def texts_of(dataset: LatentDataset, rows: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Texts (B, L, D) of these examples, cut to the longest, and their mask (B, L)."""
    lengths = dataset.lengths[rows, which]
    longest = int(lengths.max())
    return dataset.texts[rows, which, :longest].float(), torch.arange(longest)[None] < lengths[:, None]


def weight_of(clean: Tensor, source: Tensor) -> Tensor:
    """(B, N, 1): what a token's error counts."""
    apart = clean - source
    return (KEPT_WEIGHT + (1 - KEPT_WEIGHT) * changed(apart)) * emphasis(apart)


@torch.inference_mode()
def edited(
    network: QwenImageTransformer2DModel,
    encoder: Encoder,
    example: examples.TrainingExample,
    shapes: list[Shape],
    steps: int,
) -> list[pictures.Pixels]:
    """The network's output for each request of an example, without guidance."""
    dataset = LatentDataset(shapes, **{name: tensor[None] for name, tensor in encoder.encoded(example, " ").items()})
    count = len(example.requests)
    which = torch.arange(count)
    rows = torch.zeros_like(which)
    texts, mask = texts_of(dataset, rows, which)
    seen = torch.cat([dataset.source[rows].float(), dataset.reference[rows, which].float()], dim=1)
    length = dataset.source.shape[1]
    latents = torch.randn(1, length, 64, generator=torch.Generator().manual_seed(0)).expand(count, -1, -1)
    for now, following in itertools.pairwise(flow.noise_levels(scheduler().config, steps, length)):
        with mixed_precision():
            found = velocity(network, latents, seen, now.expand(count), texts, mask, shapes)
        latents = latents + (following - now) * found.float()
    return [to_uint8(pixels[None]) for pixels in encoder.pixels(latents, shapes[0])]


def samples(network: QwenImageTransformer2DModel, encoder: Encoder) -> Image.Image:
    """A sheet: held-out images with their edits, and reference edits with references."""
    rows = []
    for name, seed in (*(("whole", seed) for seed in world.HELD_OUT_SEEDS[:4]), ("like", world.HELD_OUT_SEEDS[4])):
        example, shapes = examples.example(name, seed), shapes_of(examples.KINDS[name])
        rows.append([example.source, *edited(network, encoder, example, shapes, SHEET_STEPS), *example.references])
    return pictures.tiled(rows)


def write_processor(folder: Path) -> None:
    """Say in the folder at what size the language model looks at pictures."""
    size = {"shortest_edge": LEAST_GLANCE_PIXELS, "longest_edge": GLANCE_PIXELS}
    Qwen2VLImageProcessorPil(size=size).save_pretrained(folder / "processor")


def run(options: Options) -> None:
    """Train and write the transformer; its folder needs the VAE and language model."""
    folder = options.out / QWEN
    if distributed.is_first():
        write_processor(folder)
    distributed.wait()
    encoder = Encoder(folder)
    training_data = datasets(options.scratch / "qwen_lessons", encoder, options.seed)
    with seeded(options.seed):
        network = transformer_model()
    trainer = EditTrainer(options.seed, training_data, network, encoder)
    with attention_written_out(transformer_qwenimage):
        report = train(trainer, scratch=options.scratch / PART, budget=options.budget, resume=options.resume)
    trainer.finish()
    torch.nn.Module.to(network, torch.bfloat16)
    network.save_pretrained(folder / "transformer")
    count, shown = (sum(math.prod(dataset.clean.shape[:dims]) for dataset in training_data.values()) for dims in (1, 2))
    note_run(folder, PART, report, seed=options.seed, lessons=count, edits=shown)
    write_qwen_card(folder)
