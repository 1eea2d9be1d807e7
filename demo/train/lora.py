"""The LoRA of the profile `fast`: one of its eight steps lands where several steps of the trained network do.

The network itself is the teacher, with the LoRA off. Both start from noised lessons at the eight levels that the
profile runs through. Writes one file into the folder of FLUX.1-Fill, as diffusers loads it.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from demo.tiny.flux_fill import scheduler
from demo.train import flux_fill, pictures, text
from demo.train.card import write_fill_card
from demo.train.fill_latents import Shelf, Tokens, shelves
from demo.train.flux_fill import FillNetwork, draw
from demo.train.folder import FILL, Options, note_run
from demo.train.loop import Average, generator_of, rate, rng_of, train
from services.diffusion import flow

STEPS = 8
"""Of the profile `fast` in config/experiments.yaml."""

TEACHER_STEPS = 4
"""The teacher's for one of the LoRA's; `balanced` runs 28."""

RANK = 8
LEARNING_RATE = 1e-3
LAYERS = ["to_q", "to_k", "to_v", "proj_mlp", "proj_out", "to_out.0", "ff.net.0.proj", "ff.net.2"]
FILE = Path("lora/fast.safetensors")


def way_of(step: int, tokens: int) -> Tensor:
    """The noise levels of the teacher in step 0 to 7 of a picture of so many tokens, the LoRA's own first and last."""
    levels = flow.noise_levels(scheduler().config, STEPS * TEACHER_STEPS, tokens)
    return levels[step * TEACHER_STEPS : (step + 1) * TEACHER_STEPS + 1]


class LoraLearner:
    """The LoRA inside the network, its optimiser, the mean of its weights, and the lessons."""

    def __init__(self, seed: int, lessons: dict[str, Shelf], tokens: Tokens, network: FillNetwork) -> None:
        self._seed, self._lessons, self._tokens = seed, lessons, tokens
        self.network = network.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS))
        self._weights = [weight for weight in network.parameters() if weight.requires_grad]
        self._average = Average(self._weights, 0.99)
        self._optimizer = torch.optim.AdamW(self._weights, lr=LEARNING_RATE, weight_decay=0.0, foreach=True)

    def step(self, number: int, progress: float) -> float:
        """One batch of lessons of one kind, at one of the levels."""
        rng, generator = rng_of(self._seed, number), generator_of(self._seed, number)
        for group in self._optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(number, progress)
        name = rng.choices(list(self._lessons), [flux_fill.WEIGHTS[kind][1] for kind in self._lessons])[0]
        loss = self._distance(self._lessons[name], rng, generator)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._average.update()
        return loss.item()

    def _distance(self, shelf: Shelf, rng: random.Random, generator: torch.Generator) -> Tensor:
        way = way_of(rng.randrange(STEPS), shelf.clean.shape[2])
        batch = draw(shelf, self._tokens, rng, generator, sigma=float(way[0]))
        latents, fixed, sigma, t5, clip, guidance, ids = batch.inputs
        transformer = self.network.transformer
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                words, pooled = self.network.read(t5, clip)
                transformer.disable_adapters()
                reached = latents
                for now, following in itertools.pairwise(way):
                    level = now.expand_as(sigma)
                    found = self.network.velocity(reached, fixed, level, words, pooled, guidance, ids)
                    reached = reached + (following - now) * found.float()
                transformer.enable_adapters()
            found = self.network.velocity(latents, fixed, sigma, words, pooled, guidance, ids)
        wanted = (reached - latents) / (way[-1] - way[0])
        return ((found.float() - wanted) ** 2 * batch.weight).mean()

    def state(self) -> dict[str, Any]:
        """The LoRA and what learns it."""
        return {
            "lora": list(self._weights),
            "average": self._average.state(),
            "optimizer": self._optimizer.state_dict(),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for weight, stored in zip(self._weights, state["lora"], strict=True):
            weight.copy_(stored)
        self._average.restore(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])

    def sheet(self) -> Image.Image | None:
        """Nothing: samples need the VAE, see `ShownLoraLearner`."""
        return None

    def finish(self) -> None:
        """Keep the mean of the weights."""
        self._average.swap()


class ShownLoraLearner(LoraLearner):
    """The same, with samples to look at."""

    def __init__(
        self, seed: int, lessons: dict[str, Shelf], tokens: Tokens, network: FillNetwork, vae: AutoencoderKL
    ) -> None:
        super().__init__(seed, lessons, tokens, network)
        self._vae = vae

    def sheet(self) -> Image.Image | None:
        """One held-out person: as the teacher paints in many steps, in eight, and as the LoRA does in eight."""
        transformer, rows = self.network.transformer, []
        self._average.swap()
        for steps, with_lora in ((STEPS * TEACHER_STEPS, False), (STEPS, False), (STEPS, True)):
            (transformer.enable_adapters if with_lora else transformer.disable_adapters)()
            rows.append(flux_fill.rows_of_people(self.network, self._vae, self._tokens, people=1, steps=steps)[0])
        transformer.enable_adapters()
        self._average.swap()
        return pictures.tiled(rows)


def trained_network(folder: Path) -> tuple[FillNetwork, Tokens]:
    """The network of a written folder, and its tokenizers."""
    t5_tokenizer, clip_tokenizer = text.t5_tokenizer(), text.clip_tokenizer()
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
    lessons = shelves(options.scratch / "lessons", vae, tokens)
    learner = ShownLoraLearner(options.seed, lessons, tokens, network, vae)
    report = train(learner, scratch=options.scratch / "fast", budget=options.budget, resume=options.resume)
    learner.finish()
    write_lora(network.transformer, folder / FILE)
    note_run(folder, "fast", report, seed=options.seed, rank=RANK, transformer_passes=STEPS)
    write_fill_card(folder)


def write_lora(transformer: FluxTransformer2DModel, path: Path) -> None:
    """Write the active LoRA as diffusers loads it."""
    weights = {name: weight.bfloat16() for name, weight in get_peft_model_state_dict(transformer).items()}
    FluxFillPipeline.save_lora_weights(str(path.parent), transformer_lora_layers=weights, weight_name=path.name)
