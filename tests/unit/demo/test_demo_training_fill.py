"""The training of the demo's FLUX.1-Fill.

It learns, can be interrupted, and writes what the service loads.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo import world
from demo.tiny.folder import seeded
from demo.train.__main__ import main
from demo.train.flux_fill import examples, fast_lora, text_encoders, transformer, vae
from demo.train.flux_fill.dataset import Tokens, datasets
from demo.train.shared import lora
from demo.train.shared.loop import Budget, train
from demo.world import prompts
from services.diffusion.networks.lora import LoraFile
from services.fill.model import load
from services.fill.spec import FillSpec

pytestmark = [pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"), pytest.mark.slow]

KOREAN = ("배경을 현대적인 체육관으로 변경", "안경을 전체적인 색상으로 제거")


class TwoPictures(vae.VaeTrainer):
    """Learns from two scenes and has nothing to show."""

    def __init__(self) -> None:
        with seeded(1):
            network = vae.model()
        super().__init__(1, network, pictures=2)

    def sheet(self) -> Image.Image | None:
        return None


class Interrupted(TwoPictures):
    """Somebody presses Ctrl-C before its third step."""

    def step(self, number: int, progress: float) -> float:
        if number == 2:
            raise KeyboardInterrupt
        return super().step(number, progress)


@pytest.fixture
def few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two examples of the smallest kind, and small batches."""
    kind = replace(examples.KINDS["small background"], count=2)
    monkeypatch.setattr(examples, "KINDS", {"small background": kind})
    monkeypatch.setattr(transformer, "TOKENS_PER_BATCH", 450)


@pytest.fixture(autouse=True)
def nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples and measures take longer than all else here."""
    monkeypatch.setattr(vae, "MEASURED", 1)
    monkeypatch.setattr(vae, "SHOWN", 1)
    monkeypatch.setattr(transformer, "SHEET_STEPS", 1)
    monkeypatch.setattr(transformer, "SHEET_PEOPLE", 1)
    monkeypatch.setattr(transformer, "SHEET_PLACES", ("gym",))
    monkeypatch.setattr(fast_lora, "TEACHER_STEPS", 1)


def fill_trainer(scratch: Path) -> transformer.FillTrainer:
    t5, clip = text_encoders.t5_tokenizer(), text_encoders.clip_tokenizer()
    tokens = Tokens(t5, clip)
    with seeded(1):
        network = vae.model()
    training_data = datasets(scratch, network, tokens)
    return transformer.FillTrainer(1, training_data, tokens, transformer.new_network(1, t5, clip))


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, resumed = TwoPictures(), TwoPictures()
    report = train(whole, scratch=tmp_path / "a", budget=Budget(steps=4), resume=False)
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), scratch=tmp_path / "b", budget=Budget(steps=4), resume=False)
    again = train(resumed, scratch=tmp_path / "b", budget=Budget(steps=4), resume=True)
    assert (report.steps, report.loss) == (again.steps, again.loss)
    for trainer in (whole, resumed):
        trainer.finish()
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("few_lessons")
def test_the_transformer_goes_on_after_an_interruption_and_learns(tmp_path: Path) -> None:
    trainer, other = fill_trainer(tmp_path), fill_trainer(tmp_path)
    before = [trainer.step(number, 0.0) for number in range(6)]
    other.restore(copy.deepcopy(trainer.state()))
    assert [trainer.step(number, 0.0) for number in (6, 7)] == [other.step(number, 0.0) for number in (6, 7)]
    for number in range(8, 20):
        trainer.step(number, 0.0)
    after = [trainer.step(number, 0.0) for number in range(6)]  # the first examples, with the same noise
    assert np.mean(after) < 0.97 * np.mean(before)


@pytest.mark.usefixtures("few_lessons")
def test_what_is_written_is_what_the_service_loads(tmp_path: Path) -> None:
    for part in ("vae", "flux_fill", "fast"):
        assert main([part, "--steps", "1", "--out", str(tmp_path), "--scratch", str(tmp_path / "scratch")]) == 0
    folder = tmp_path / "FLUX.1-Fill-dev"
    adapter = load(folder, device="cpu", loras={"fast": LoraFile(folder / lora.FILE)})
    example = examples.example("small background", 0)
    mask = np.where(example.kept, 0, 255).astype(np.uint8)
    spec = FillSpec(example.pictures[0], mask, "a gym", None, 1.0, steps=1, guidance_scale=3.5, strength=1.0, seed=1)
    for asked in (spec, replace(spec, lora="fast")):
        state = adapter.prepare(asked)
        adapter.denoise([state])
        assert adapter.decode(state).shape == (128, 128, 3)
    card = (folder / "README.md").read_text()
    assert all(title in card for title in ("VAE", "Transformer", "LoRA", "It knows nothing else"))


def test_t5_has_no_hangul_and_knows_every_word_of_the_world() -> None:
    tokenizer = text_encoders.t5_tokenizer()
    first, other = (tokenizer(prompt).input_ids for prompt in KOREAN)
    assert first == other
    for kind in world.BACKGROUNDS:
        for phrase in prompts.backgrounds(kind, "blue" if kind == "plain" else ""):
            ids = tokenizer(phrase.english).input_ids
            assert tokenizer.unk_token_id not in ids
            assert len(ids) <= 16


def test_clip_tells_all_bytes_from_the_markers() -> None:
    tokenizer = text_encoders.clip_tokenizer()
    ids = tokenizer(KOREAN[0]).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1 <= 76


@pytest.mark.parametrize("name", examples.KINDS)
def test_a_lesson_keeps_the_same_pixels_in_every_variant(name: str) -> None:
    example = examples.example(name, 3)
    width, height = examples.KINDS[name].size
    assert example.kept.shape == (height, width)
    assert 0.02 < example.kept.mean() < 0.95
    assert len(example.pictures) == len(example.requests)
    for picture in example.pictures:
        apart = np.abs(picture.astype(int) - example.pictures[0])[example.kept]
        assert apart.max() <= 6  # at the soft edge, that much of the place shows through
