"""The LoRA of Qwen-Image-Edit's profile `fast`, see `lora.py`.

The teacher is guided, with a second pass for an empty text, as `balanced` is; the LoRA needs one pass alone. Both start
from noised examples at the eight levels that the profile runs through, those of the published Lightning LoRA. Writes
one file into the folder of Qwen-Image-Edit.
"""

from __future__ import annotations

import itertools
import random

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.transformers import transformer_qwenimage
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from torch import Tensor

from demo.tiny.qwen_edit import scheduler
from demo.train.qwen_edit import transformer
from demo.train.qwen_edit.card import write_qwen_card
from demo.train.qwen_edit.dataset import Encoder, LatentDataset, datasets
from demo.train.qwen_edit.transformer import some, texts_of, velocity, weight_of
from demo.train.shared.attention import attention_written_out
from demo.train.shared.loop import train
from demo.train.shared.lora import FILE, RANK, STEPS, LoraTrainer
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import QWEN, Options, note_run
from services.diffusion.networks import flow
from services.qwen_edit.__main__ import LIGHTNING_SCHEDULE
from services.qwen_edit.model import guided

PART = "qwen_fast"

TEACHER_STEPS = 3
GUIDANCE = 3.5
"""The teacher's scale, which is the default of `balanced`."""

LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj", "img_mlp.net.0.proj", "img_mlp.net.2"]


def way_of(step: int, tokens: int) -> Tensor:
    """The teacher's noise levels in steps 0 to 7, with the LoRA's own first and last."""
    levels = flow.noise_levels({**scheduler().config, **LIGHTNING_SCHEDULE}, STEPS, tokens)
    parts = torch.arange(TEACHER_STEPS + 1) / TEACHER_STEPS
    return levels[step] + (levels[step + 1] - levels[step]) * parts


class EditLoraTrainer(LoraTrainer):
    """Learns from the examples of Qwen-Image-Edit."""

    def __init__(
        self, seed: int, training_data: dict[str, LatentDataset], transformer: QwenImageTransformer2DModel
    ) -> None:
        self._training_data = training_data
        super().__init__(seed, transformer, LAYERS)

    def distance(self, rng: random.Random, generator: torch.Generator) -> Tensor:
        """The mean squared one, what an edit changes weighing more."""
        name = rng.choices(list(self._training_data), [transformer.WEIGHTS[kind][1] for kind in self._training_data])[0]
        dataset = self._training_data[name]
        way = way_of(rng.randrange(STEPS), dataset.source.shape[1])
        rows, which = some(dataset, generator)
        clean, source = dataset.clean[rows, which].float(), dataset.source[rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        latents = flow.noised(clean, noise, way[0])
        seen = torch.cat([source, dataset.reference[rows, which].float()], dim=1)
        texts, blank = (
            texts_of(dataset, rows, which),
            texts_of(dataset, rows, torch.full_like(which, dataset.clean.shape[1])),
        )

        def said(at: Tensor, level: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
            return velocity(self.transformer, at, seen, level.expand(len(rows)), *text, dataset.shapes).float()

        with mixed_precision():
            with torch.no_grad(), self.off():
                reached, scale = latents, torch.tensor(GUIDANCE)
                for now, following in itertools.pairwise(way):
                    found = guided(said(reached, now, texts), said(reached, now, blank), scale)
                    reached = reached + (following - now) * found
            made = said(latents, way[0], texts)
        wanted = (reached - latents) / (way[-1] - way[0])
        return ((made - wanted) ** 2 * weight_of(clean, source)).mean()


def run(options: Options) -> None:
    """Train it beside the transformer that `qwen_edit` has written."""
    folder = options.out / QWEN
    network = QwenImageTransformer2DModel.from_pretrained(str(folder / "transformer"), torch_dtype=torch.float32)
    training_data = datasets(options.scratch / "qwen_lessons", Encoder(folder), options.seed)
    trainer = EditLoraTrainer(options.seed, training_data, network)
    with attention_written_out(transformer_qwenimage):
        report = train(trainer, scratch=options.scratch / PART, budget=options.budget, resume=options.resume)
    trainer.finish()
    trainer.write(QwenImageEditPlusPipeline, folder / FILE)
    note_run(folder, PART, report, seed=options.seed, rank=RANK, transformer_passes=STEPS)
    write_qwen_card(folder)
