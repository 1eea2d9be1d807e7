"""Train the demo's BEN2: the real network at small sizes, on the demo's world.

It learns from rendered scenes and their true alpha, prepared like the service's input: mostly from small images, which
cost a quarter of the work, then at its own size. Writes the `BEN2` folder.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from demo import world
from demo.train.ben2 import dataset
from demo.train.shared.loop import train
from demo.train.shared.pictures import tiled
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import Options, note_run, notes_of
from demo.train.shared.trainer import NetworkTrainer
from imgedit.imaging.images import Pixels
from services.orchestrator.imaging.masks import relevel
from services.segmentation.ben2 import BEN2, BEN2Config
from services.segmentation.ben2.decoder import quadrants
from services.segmentation.cutout import to_mask
from services.segmentation.model import Segmenter, to_input

NAME = "BEN2"

CONFIG = BEN2Config(
    image_size=256,
    embed_dim=16,
    depths=(2, 2, 2, 1),
    num_heads=(1, 2, 4, 8),
    window_size=8,
    mlp_ratio=2,
    decoder_dim=32,
    head_dim=32,
    localization_pool_ratios=(1, 2, 4),
)
SKETCH = replace(CONFIG, image_size=128, refinement_pool_ratios=(2, 4), localization_pool_ratios=(1, 2))
"""The same weights over smaller pictures."""

SKETCHED = 0.6
"""The part of a run that is spent on smaller pictures."""

SKETCH_BATCH = 8
BATCH = 4
LEARNING_RATE = 3e-3
EDGE_WEIGHT = 4.0
COARSE_WEIGHT = 0.3
LEVELS = (1, 2, 3, 4)
SLACK = 64
"""Pixels added to both parts of the intersection over union, so that a picture without a subject has a gradient too."""

MEASURED = 200
SHOWN = 8


class TrainingExample(nn.Module):
    """The network with what is needed to learn.

    Its map before the sigmoid, and the maps of its decoder's levels.

    The decoder's maps are judged through the `sideout` convolutions, which the checkpoint has for this alone.
    """

    def __init__(self, network: BEN2) -> None:
        super().__init__()
        self.network = network
        self._seen: dict[str, Tensor] = {}
        for name in ("output", *(f"conv{level}" for level in LEVELS)):
            network.get_submodule(name).register_forward_hook(self._keeper(name))

    def forward(self, pictures: Tensor, alphas: Tensor) -> Tensor:
        """(B, 3, S, S), normalised, and (B, 1, S, S) in [0, 1] -> the loss."""
        self.network(pictures)
        loss = fine_loss(self._seen["output"].float(), alphas)
        for level in LEVELS:
            views = self._seen[f"conv{level}"]  # (B * 5, D, h, h)
            found = self.network.get_submodule(f"sideout{level}")(views).float()
            wanted = views_of(alphas, found.shape[-1])
            loss = loss + COARSE_WEIGHT / len(LEVELS) * functional.binary_cross_entropy_with_logits(found, wanted)
        self._seen.clear()
        return loss

    def _keeper(self, name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._seen[name] = output

        return keep


class Ben2Trainer(NetworkTrainer):
    """Learns first from small images, then from images of the network's size."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = BEN2(CONFIG).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, is_matrix, decay=0.995, lr=LEARNING_RATE)
        sketcher = BEN2(SKETCH)
        sketcher.load_state_dict(self.network.state_dict(keep_vars=True), assign=True)  # the very same weights
        self._lesson, self._sketch = TrainingExample(self.network), TrainingExample(sketcher)

    def step(self, number: int, progress: float) -> float:
        """One batch of pictures."""
        example, count = (self._sketch, SKETCH_BATCH) if progress < SKETCHED else (self._lesson, BATCH)
        pictures, alphas = batch(self._seed, number, count, example.network.config.image_size)
        with mixed_precision():
            loss = example(pictures, alphas)
        return self.learn(loss, number, progress)

    @torch.no_grad()
    def sheet(self) -> Image.Image | None:
        """Pictures over the alphas that are found in them."""
        drawn = [dataset.sample(self._seed, -1 - number, CONFIG.image_size)[0] for number in range(SHOWN)]
        with self._average.in_place():
            found = [to_mask(self.network(to_input(rgb, CONFIG.image_size))[0, 0].numpy()) for rgb in drawn]
        return tiled([drawn, [np.repeat(alpha[:, :, None], 3, axis=2) for alpha in found]])


def is_matrix(name: str, weight: Tensor) -> bool:
    """Whether Muon learns it: what mixes many channels into many."""
    return weight.ndim >= 2 and min(weight.flatten(1).shape) > 1 and "bias_table" not in name and "sideout" not in name


def fine_loss(logits: Tensor, alphas: Tensor) -> Tensor:
    """Edge-weighted cross-entropy, and one minus the soft IoU; (B, 1, S, S) each."""
    around = functional.avg_pool2d(alphas, 9, stride=1, padding=4, count_include_pad=False)
    weight = 1 + EDGE_WEIGHT * (2 * (around - alphas).abs()).clamp(max=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, alphas, weight)
    found = logits.sigmoid()
    shared = (found * alphas).sum((1, 2, 3))
    either = (found + alphas - found * alphas).sum((1, 2, 3))
    return entropy + (1 - (shared + SLACK) / (either + SLACK)).mean()


def views_of(alphas: Tensor, side: int) -> Tensor:
    """(B, 1, S, S) -> (B * 5, 1, side, side).

    The four quadrants and the whole, as the network sees a picture.
    """
    quarters = functional.adaptive_avg_pool2d(quadrants(alphas).flatten(0, 1), side).reshape(-1, 4, 1, side, side)
    whole = functional.adaptive_avg_pool2d(alphas, side)[:, None]
    return torch.cat((quarters, whole), dim=1).flatten(0, 1)


def batch(seed: int, number: int, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Normalised images (B, 3, S, S) and alphas (B, 1, S, S), constant per step."""
    drawn = [dataset.sample(seed, number * SKETCH_BATCH + place, side) for place in range(count)]
    pictures = torch.cat([to_input(picture, side) for picture, _ in drawn])
    alphas = torch.from_numpy(np.stack([alpha for _, alpha in drawn])[:, None]).float() / 255
    return pictures.contiguous(memory_format=torch.channels_last), alphas


def run(options: Options) -> None:
    """Train it and write the folder."""
    trainer = Ben2Trainer(options.seed)
    report = train(trainer, scratch=options.scratch / "ben2", budget=options.budget, resume=options.resume)
    trainer.finish()
    folder = options.out / NAME
    write(folder, trainer.network)
    note_run(folder, "ben2", report, seed=options.seed, **measured(folder))
    write_card(folder)


def write(folder: Path, network: BEN2) -> None:
    """The weights and the sizes, as the service loads them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: entry.contiguous() for name, entry in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(network.config), indent=2) + "\n")


def measured(folder: Path, count: int = MEASURED) -> dict[str, float]:
    """The quality of the written weights on held-out scenes.

    Through the service's own steps. iou: mean over scenes, 256 x 256 px. iou_varied: the same for other sizes and
    shapes, tinted, noisy or compressed. empty: the share of scenes without a person in which nothing is found.
    """
    segmenter = Segmenter.load(folder, device="cpu")
    plain, varied, empty = [], [], []
    for seed in world.HELD_OUT_SEEDS[:count]:
        scene = world.sample(random.Random(seed))
        drawn = world.render(scene)
        plain.append(iou(weight_of(segmenter, drawn.rgb), drawn.alpha))
        picture, alpha = dataset.held_out(seed)
        varied.append(iou(weight_of(segmenter, picture), alpha))
        nobody = world.render(replace(scene, person=None)).rgb
        empty.append(float((weight_of(segmenter, nobody) >= 128).mean() < 1e-3))
    return {
        "iou": round(float(np.mean(plain)), 4),
        "iou_worst_of_20": round(float(np.quantile(plain, 0.05)), 4),
        "iou_varied": round(float(np.mean(varied)), 4),
        "empty": round(float(np.mean(empty)), 4),
    }


def weight_of(segmenter: Segmenter, picture: Pixels) -> Pixels:
    """The subject's mask (H, W) uint8 as the mask stage levels it."""
    return relevel(to_mask(segmenter.alpha(picture)), 0.5, stretch=True)


def iou(weight: Pixels, alpha: Pixels) -> float:
    """Intersection over union of where both are at least one half.

    1 for two empty ones.
    """
    found: NDArray[np.bool_] = weight >= 128
    true = alpha >= 128
    either = int((found | true).sum())
    return float((found & true).sum() / either) if either else 1.0


CARD = """\
---
license: apache-2.0
---
# BEN2 (small, for the demo world)

The real BEN2 network at small sizes (`config.json`), {parameters:,} parameters, taught to find the person in pictures
that `demo/world` draws. It knows nothing else: real photographs give an arbitrary mask. For those take the real weights
(`imgedit models pull`).

- Written by `python -m demo.train ben2 --seed {seed}`.
- Data: scenes drawn on the fly from the training seeds, with their true alpha; sizes, crops, light, grain, compression
  and grounds vary, and {nobody:.0%} show nobody.
- Run: {steps:,} steps; the first {sketched:.0%} on {sketches} pictures of 128 px each, the others on {batch} of 256 px;
  {minutes} minutes on shared cores.

What it does with {count} held-out scenes, through the service's own steps; a pixel is the person's where the mask's
weight is at least one half:

| scenes | measure | |
| --- | --- | --- |
| 256 x 256 px | mean intersection over union | {iou:.3f} |
| | reached by 95% of them | {iou_worst_of_20:.3f} |
| other sizes and shapes, tinted, grainy, compressed | mean intersection over union | {iou_varied:.3f} |
| without the person | share in which nothing is found | {empty:.1%} |

Limits: one person, whole or cut by the border, in the style of this world; what the person holds belongs to them, what
stands beside them does not.
"""  # prose: off


def write_card(folder: Path) -> None:
    """The model card, from what was noted of the run."""
    facts = notes_of(folder)["ben2"]
    parameters = sum(entry.numel() for entry in BEN2(CONFIG).parameters())
    text = CARD.format(
        parameters=parameters,
        sketched=SKETCHED,
        sketches=SKETCH_BATCH,
        batch=BATCH,
        count=MEASURED,
        nobody=dataset.NOBODY,
        **facts,
    )
    (folder / "README.md").write_text(text)
