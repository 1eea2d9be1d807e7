"""The LoRA of FLUX.1-Fill's profile `fast`, see `lora.py`.

Teacher and LoRA start from noised examples at the eight levels that the profile runs through. Writes one file into the
folder of FLUX.1-Fill.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.models.transformers import transformer_flux
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from demo.tiny.flux_fill import scheduler
from demo.train.flux_fill import text_encoders, transformer
from demo.train.flux_fill.dataset import LatentDataset, Tokens, datasets
from demo.train.flux_fill.transformer import FillNetwork, draw
from demo.train.shared import pictures
from demo.train.shared.attention import attention_written_out
from demo.train.shared.card import write_fill_card
from demo.train.shared.loop import train
from demo.train.shared.lora import FILE, RANK, STEPS, LoraTrainer
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import FILL, Options, note_run
from services.diffusion.networks import flow

TEACHER_STEPS = 4
"""The teacher's for one of the LoRA's; `balanced` runs 28."""

LAYERS = ["to_q", "to_k", "to_v", "proj_mlp", "proj_out", "to_out.0", "ff.net.0.proj", "ff.net.2"]


def way_of(step: int, tokens: int) -> Tensor:
    """The teacher's noise levels in steps 0 to 7, with the LoRA's own first and last."""
    levels = flow.noise_levels(scheduler().config, STEPS * TEACHER_STEPS, tokens)
    return levels[step * TEACHER_STEPS : (step + 1) * TEACHER_STEPS + 1]


class FillLoraTrainer(LoraTrainer):
    """Learns from the examples of FLUX.1-Fill.

    vae: for sample sheets, None = none.
    """

    def __init__(
        self,
        seed: int,
        training_data: dict[str, LatentDataset],
        tokens: Tokens,
        network: FillNetwork,
        vae: AutoencoderKL | None = None,
    ) -> None:
        self._training_data, self._tokens, self._vae = training_data, tokens, vae
        self.network = network.requires_grad_(False)
        super().__init__(seed, network.transformer, LAYERS)

    def distance(self, rng: random.Random, generator: torch.Generator) -> Tensor:
        """The mean squared one, what is kept weighing less."""
        name = rng.choices(list(self._training_data), [transformer.WEIGHTS[kind][1] for kind in self._training_data])[0]
        dataset = self._training_data[name]
        way = way_of(rng.randrange(STEPS), dataset.clean.shape[2])
        batch = draw(dataset, self._tokens, rng, generator, sigma=float(way[0]))
        latents, fixed, sigma, t5, clip, guidance, ids = batch.inputs
        with mixed_precision():
            with torch.no_grad(), self.off():
                words, pooled = self.network.read(t5, clip)
                reached = latents
                for now, following in itertools.pairwise(way):
                    level = now.expand_as(sigma)
                    found = self.network.velocity(reached, fixed, level, words, pooled, guidance, ids)
                    reached = reached + (following - now) * found.float()
            found = self.network.velocity(latents, fixed, sigma, words, pooled, guidance, ids)
        wanted = (reached - latents) / (way[-1] - way[0])
        apart: Tensor = ((found.float() - wanted) ** 2 * batch.weight).mean()
        return apart

    def sheet(self) -> Image.Image | None:
        """One held-out person by the teacher in many and eight steps, and by the LoRA."""
        if self._vae is None:
            return None
        with self._average.in_place():
            with self.off():
                rows = [self._row(self._vae, STEPS * TEACHER_STEPS), self._row(self._vae, STEPS)]
            rows.append(self._row(self._vae, STEPS))
        return pictures.tiled(rows)

    def _row(self, vae: AutoencoderKL, steps: int) -> list[pictures.Pixels]:
        return transformer.rows_of_people(self.network, vae, self._tokens, people=1, steps=steps)[0]


def trained_network(folder: Path) -> tuple[FillNetwork, Tokens]:
    """The network of a written folder, and its tokenizers."""
    t5_tokenizer, clip_tokenizer = text_encoders.t5_tokenizer(), text_encoders.clip_tokenizer()
    network = FillNetwork(len(t5_tokenizer), clip_tokenizer)
    network.transformer = FluxTransformer2DModel.from_pretrained(str(folder / "transformer"), torch_dtype=torch.float32)
    network.t5 = T5EncoderModel.from_pretrained(str(folder / "text_encoder_2"), dtype=torch.float32)
    network.clip = CLIPTextModel.from_pretrained(str(folder / "text_encoder"), dtype=torch.float32)
    return network, Tokens(t5_tokenizer, clip_tokenizer)


def run(options: Options) -> None:
    """Train it beside the network that `flux_fill` has written."""
    folder = options.out / FILL
    vae = AutoencoderKL.from_pretrained(str(folder / "vae"), torch_dtype=torch.float32).eval().requires_grad_(False)
    network, tokens = trained_network(folder)
    training_data = datasets(options.scratch / "lessons", vae, tokens)
    trainer = FillLoraTrainer(options.seed, training_data, tokens, network, vae)
    with attention_written_out(transformer_flux):
        report = train(trainer, scratch=options.scratch / "fast", budget=options.budget, resume=options.resume)
    trainer.finish()
    trainer.write(FluxFillPipeline, folder / FILE)
    note_run(folder, "fast", report, seed=options.seed, rank=RANK, transformer_passes=STEPS)
    write_fill_card(folder)
