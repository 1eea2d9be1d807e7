"""The demo's FLUX.1-Fill.

The real transformer class, small, taught by flow matching to fill parts of the demo world.

Its text encoders learn along with it. The VAE must be trained before; see `demo/train/flux_fill/vae.py`. Writes the
rest of the folder in diffusers layout, and the card.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.models.transformers import transformer_flux
from PIL import Image
from torch import Tensor, nn

from demo import world
from demo.tiny.flux_fill import COMPONENTS, scheduler
from demo.tiny.folder import write_index
from demo.train.flux_fill import examples, text_encoders
from demo.train.flux_fill.dataset import LatentDataset, Tokens, datasets, encoded
from demo.train.shared import pictures
from demo.train.shared.attention import attention_written_out
from demo.train.shared.card import write_fill_card
from demo.train.shared.loop import generator_of, rng_of, train
from demo.train.shared.loss_weights import emphasis
from demo.train.shared.noise_levels import first_levels, noise_level, with_trace
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import FILL, Options, note_run
from demo.train.shared.trainer import Batch, NetworkTrainer, silence
from demo.world import prompts
from services.diffusion.networks import flow
from services.diffusion.networks.vae_pixels import to_uint8
from services.fill.model import position_ids

WIDTH = 128
HEADS = 4
DOUBLE_BLOCKS = 1
SINGLE_BLOCKS = 7
LEARNING_RATE = 4e-3
TOKENS_PER_BATCH = 3600
"""Image and text tokens of a batch, about: the small pictures come in larger batches."""

SMALL_FIRST = 0.4
"""The part of the run that is mostly about small pictures, from which the places and the words are learnt."""

WEIGHTS = {
    "small background": (12, 4),
    "background": (1, 7),
    "low background": (2, 1),
    "wide background": (0, 1),
    "high background": (0, 1),
    "strip": (2, 6),
    "broad strip": (1, 16),
    "large strip": (0, 2),
    "around": (0, 1),
    "box": (0, 1),
}
"""How often each kind of example comes, in the first and in the second part."""

NEGATIVE_SHARE = 0.1
KEPT_WEIGHT = 0.2
SHEET_STEPS = 12
SHEET_PEOPLE = 3
SHEET_PLACES = tuple(world.BACKGROUNDS)


class FillNetwork(nn.Module):
    """The transformer and what reads the prompts, as one network."""

    def __init__(self, t5_vocabulary: int, clip_tokenizer: Any) -> None:
        super().__init__()
        self.transformer = transformer_model()
        self.t5 = text_encoders.t5_model(t5_vocabulary)
        self.clip = text_encoders.clip_model(clip_tokenizer)

    def forward(
        self, latents: Tensor, fixed: Tensor, sigma: Tensor, t5: Tensor, clip: Tensor, guidance: Tensor, ids: Tensor
    ) -> Tensor:
        """The velocity, (B, N, 64).

        latents: (B, N, 64); fixed: (B, N, 320); sigma, guidance: (B,).
        """
        return self.velocity(latents, fixed, sigma, *self.read(t5, clip), guidance, ids)

    def read(self, t5: Tensor, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts as the transformer is given them.

        T5's tokens, none masked, and CLIP's output at the end marker.
        """
        end: Any = self.clip.config.eos_token_id  # one number here; transformers allows a list
        longest = int(clip.eq(end).int().argmax(dim=1).max()) + 1
        return self.t5(t5)[0], self.clip(clip[:, :longest]).pooler_output

    def velocity(
        self,
        latents: Tensor,
        fixed: Tensor,
        sigma: Tensor,
        words: Tensor,
        pooled: Tensor,
        guidance: Tensor,
        ids: Tensor,
    ) -> Tensor:
        """The same with prompts that are read already."""
        made: Tensor = self.transformer(
            hidden_states=torch.cat([latents, fixed], dim=2),
            timestep=sigma,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=words,
            txt_ids=torch.zeros(words.shape[1], 3),
            img_ids=ids,
            return_dict=False,
        )[0]
        return made


def transformer_model() -> FluxTransformer2DModel:
    """The network with random weights.

    Each block begins as one that changes nothing, and what comes out is 0.
    """
    transformer = FluxTransformer2DModel(
        in_channels=384,
        out_channels=64,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        axes_dims_rope=(4, 14, 14),
        joint_attention_dim=text_encoders.T5_WIDTH,
        pooled_projection_dim=text_encoders.CLIP_WIDTH,
        guidance_embeds=True,
    )
    silent = [
        module.linear for name, module in transformer.named_modules() if name.endswith(("norm1", "norm1_context"))
    ]
    silent += [block.norm.linear for block in transformer.single_transformer_blocks]
    silent += [transformer.norm_out.linear, transformer.proj_out]
    silence(silent)
    return transformer


class FillTrainer(NetworkTrainer):
    """Learns from examples, which are not part of its state."""

    def __init__(
        self, seed: int, training_data: dict[str, LatentDataset], tokens: Tokens, network: FillNetwork
    ) -> None:
        self._seed, self._training_data, self._tokens = seed, training_data, tokens
        blocks = (network.transformer.transformer_blocks, network.transformer.single_transformer_blocks)
        inside = {id(weight) for block in blocks for weight in block.parameters() if weight.ndim == 2}
        super().__init__(network, lambda _, weight: id(weight) in inside, decay=0.998, lr=LEARNING_RATE)

    def step(self, number: int, progress: float) -> float:
        """One batch of examples of one kind."""
        rng, generator = rng_of(self._seed, number), generator_of(self._seed, number)
        part = 0 if progress < SMALL_FIRST else 1
        name = rng.choices(list(self._training_data), [WEIGHTS[kind][part] for kind in self._training_data])[0]
        batch = draw(self._training_data[name], self._tokens, rng, generator)
        with mixed_precision():
            found = self.network(*batch.inputs)
        return self.learn(batch.loss(found), number, progress)

    def sheet(self) -> Image.Image | None:
        """Nothing: samples need the VAE, see `ShownTrainer`."""
        return None


class ShownTrainer(FillTrainer):
    """The same, with samples to look at."""

    def __init__(
        self,
        seed: int,
        training_data: dict[str, LatentDataset],
        tokens: Tokens,
        network: FillNetwork,
        vae: AutoencoderKL,
    ) -> None:
        super().__init__(seed, training_data, tokens, network)
        self._vae = vae

    def sheet(self) -> Image.Image | None:
        """Held-out people before every place, and strips, painted by the averaged weights."""
        with self._average.in_place():
            return samples(self.network, self._vae, self._tokens)


def draw(
    dataset: LatentDataset,
    tokens: Tokens,
    rng: random.Random,
    generator: torch.Generator,
    *,
    sigma: float | None = None,
) -> Batch:
    """Training examples at random noise levels, or all at `sigma`.

    The noise of some contains a trace of another place behind the same person, like an edit with strength below 1; the
    target stays the same.
    """
    count, variants, length, _ = dataset.clean.shape
    size = max(1, TOKENS_PER_BATCH // (length + text_encoders.T5_TOKENS))
    rows = torch.randint(count, (size,), generator=generator)
    # The last variant comes twice as often: it is a plain colour as often as not, and there are many of those.
    which = torch.randint(variants + 1, (size,), generator=generator).clamp(max=variants - 1)
    clean = dataset.clean[rows, which].float()
    noise = torch.randn(clean.shape, generator=generator)
    levels = torch.full((size,), sigma) if sigma else noise_level(scheduler().config, size, length, generator)
    if variants > 1 and sigma is None:
        start = first_levels(size, generator)
        shift = torch.randint(1, variants, (size,), generator=generator)
        old = dataset.clean[rows, (which + shift) % variants].float()
        noise, levels = with_trace(noise, levels, start, old, clean)
    level = levels[:, None, None]
    kept = dataset.mean[rows].float()
    kept = kept + dataset.spread[rows].float() * torch.randn(kept.shape, generator=generator)
    mask = dataset.mask[rows].float()
    t5, clip = dataset.t5[rows, which].long(), dataset.clip[rows, which].long()
    silent = [row for row in range(size) if rng.random() < NEGATIVE_SHARE]
    if silent:
        asked = ["" if rng.random() < 0.5 else prompts.negative(rng).english for _ in silent]
        t5[silent], clip[silent] = tokens(asked)
    guidance = 1 + 14 * torch.rand(size, generator=generator)
    height, width = dataset.size
    inputs = (
        (1 - level) * clean + level * noise,
        torch.cat([kept, mask], dim=2),
        levels,
        t5,
        clip,
        guidance,
        position_ids(height, width),
    )
    weight = KEPT_WEIGHT + (1 - KEPT_WEIGHT) * mask.amax(dim=2, keepdim=True)
    if variants > 1:  # a thing at a side is little of a picture
        weight = weight * emphasis(dataset.clean[rows].float().std(dim=1))
    return Batch(inputs, noise - clean, weight)


@torch.inference_mode()
def painted(
    network: FillNetwork,
    vae: AutoencoderKL,
    tokens: Tokens,
    example: examples.TrainingExample,
    *,
    steps: int,
    seed: int = 0,
) -> list[pictures.Pixels]:
    """The network's output for each request of an example, under the kept pixels."""
    one = encoded(vae, tokens, example)
    height, width = example.kept.shape
    count = len(example.requests)
    fixed = torch.cat([one["mean"].float(), one["mask"].float()], dim=1).expand(count, -1, -1)
    latents = torch.randn(fixed.shape[0], fixed.shape[1], 64, generator=torch.Generator().manual_seed(seed))
    sigmas = flow.noise_levels(scheduler().config, steps, fixed.shape[1])
    with mixed_precision():
        words, pooled = network.read(one["t5"].long(), one["clip"].long())
    guidance, ids = torch.full((count,), 3.5), position_ids(height, width)
    for now, following in itertools.pairwise(sigmas):
        with mixed_precision():
            found = network.velocity(latents, fixed, now.expand(count), words, pooled, guidance, ids)
        latents = latents + (following - now) * found.float()
    config = vae.config
    decoded = vae.decode(flow.unpack(latents, height // 8, width // 8) / config.scaling_factor + config.shift_factor)
    kept = example.kept[..., None]
    return [
        np.where(kept, seen, to_uint8(made[None])) for seen, made in zip(example.pictures, decoded.sample, strict=True)
    ]


def samples(network: FillNetwork, vae: AutoencoderKL, tokens: Tokens) -> Image.Image:
    """A sheet: held-out people before every kind of place, then held-out strips."""
    seeds = world.HELD_OUT_SEEDS[:SHEET_PEOPLE]
    strips = [examples.strip_at_side(random.Random(seed), (192, 256)) for seed in seeds]
    rows = rows_of_people(network, vae, tokens, people=SHEET_PEOPLE, steps=SHEET_STEPS)
    rows.append([rgb for strip in strips for rgb in painted(network, vae, tokens, strip, steps=SHEET_STEPS)])
    return pictures.tiled(rows)


def rows_of_people(
    network: FillNetwork, vae: AutoencoderKL, tokens: Tokens, *, people: int, steps: int
) -> list[list[pictures.Pixels]]:
    """Held-out people, each followed by every kind of place painted behind them."""
    rows = []
    for seed in world.HELD_OUT_SEEDS[:people]:
        rng = random.Random(seed)
        drawn = world.render(world.sample(rng))
        asked = tuple(
            prompts.backgrounds(kind, "yellow" if kind == "plain" else "")[0].english for kind in SHEET_PLACES
        )
        example = examples.TrainingExample(examples.seen_of(drawn.alpha, rng), (drawn.rgb,) * len(asked), asked)
        rows.append([drawn.rgb, *painted(network, vae, tokens, example, steps=steps, seed=seed)])
    return rows


def run(options: Options) -> None:
    """Train it and write the folder but for its VAE, which must be there."""
    folder = options.out / FILL
    vae = AutoencoderKL.from_pretrained(str(folder / "vae"), torch_dtype=torch.float32).eval().requires_grad_(False)
    t5_tokenizer, clip_tokenizer = text_encoders.t5_tokenizer(), text_encoders.clip_tokenizer()
    tokens = Tokens(t5_tokenizer, clip_tokenizer)
    training_data = datasets(options.scratch / "lessons", vae, tokens)
    network = new_network(options.seed, t5_tokenizer, clip_tokenizer)
    trainer = ShownTrainer(options.seed, training_data, tokens, network, vae)
    with attention_written_out(transformer_flux):
        report = train(trainer, scratch=options.scratch / "flux_fill", budget=options.budget, resume=options.resume)
    trainer.finish()
    t5_tokenizer.save_pretrained(folder / "tokenizer_2")
    clip_tokenizer.save_pretrained(folder / "tokenizer")
    network.bfloat16()
    network.transformer.save_pretrained(folder / "transformer")
    network.t5.save_pretrained(folder / "text_encoder_2")
    network.clip.save_pretrained(folder / "text_encoder")
    scheduler().save_pretrained(folder / "scheduler")
    write_index(folder, "FluxFillPipeline", COMPONENTS)
    count = sum(len(dataset.clean) for dataset in training_data.values())
    shown = sum(dataset.clean.shape[0] * dataset.clean.shape[1] for dataset in training_data.values())
    note_run(folder, "transformer", report, seed=options.seed, lessons=count, pictures=shown)
    write_fill_card(folder)


def new_network(seed: int, t5_tokenizer: Any, clip_tokenizer: Any) -> FillNetwork:
    """Random weights; the seed decides them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FillNetwork(len(t5_tokenizer), clip_tokenizer)
