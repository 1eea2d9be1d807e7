"""The training of the demo's Qwen-Image-Edit.

It learns the real classes, and writes what the service loads.
"""

from __future__ import annotations

import itertools
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.transformers import transformer_qwenimage
from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen
from safetensors.torch import load_file
from torch.nn import functional

from demo import world
from demo.tiny.folder import seeded
from demo.train.__main__ import main
from demo.train.flux_fill import vae as flux_vae
from demo.train.qwen_edit import decoder, examples, transformer, vae
from demo.train.qwen_edit.dataset import Encoder, datasets
from demo.train.shared import loss_weights
from demo.train.shared.attention import attention_written_out, written_out
from demo.train.shared.lora import FILE
from demo.train.shared.run_folder import QWEN
from demo.world import prompts
from imgedit.local.supervisor import DEMO_MODELS
from services.diffusion.networks.lora import LoraFile
from services.qwen_edit.__main__ import LIGHTNING_SCHEDULE
from services.qwen_edit.model import load_qwen_edit
from services.qwen_edit.spec import QwenEditSpec

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two examples of each of the smallest kinds, small batches, nothing to show."""
    kinds = {name: replace(examples.KINDS[name], count=2) for name in ("close", "small like")}
    monkeypatch.setattr(examples, "KINDS", kinds)
    monkeypatch.setattr(transformer, "TOKENS_PER_BATCH", 400)
    monkeypatch.setattr(transformer, "samples", lambda *_: None)
    monkeypatch.setattr(transformer, "WEIGHTS", {"close": (1, 1), "small like": (1, 1)})
    monkeypatch.setattr(flux_vae, "MEASURED", 1)
    monkeypatch.setattr(flux_vae, "SHOWN", 1)
    monkeypatch.setattr(flux_vae, "PICTURES", 2)


@torch.inference_mode()
def test_the_picture_vae_is_the_real_one_on_pictures() -> None:
    with seeded(1):
        real = vae.model().eval()
    with seeded(1):
        flat = vae.SingleImageVae(vae.model()).eval()
    pixels = torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    latents = real.encode(pixels[:, :, None]).latent_dist.mode()
    torch.testing.assert_close(flat.encode(pixels).latent_dist.mode(), latents[:, :, 0], atol=1e-4, rtol=1e-4)
    wanted = real.decode(latents).sample[:, :, 0]
    torch.testing.assert_close(flat.decode(latents[:, :, 0]).sample.clamp(-1, 1), wanted, atol=1e-4, rtol=1e-4)
    written = vae.with_time(flat).eval()
    torch.testing.assert_close(written.decode(latents).sample[:, :, 0], wanted, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_two_heads_begin_by_looking_at_the_same_place_of_the_picture() -> None:
    with seeded(3):
        network = transformer.transformer_model()
    shapes, count = [(1, 8, 8), (1, 8, 8)], 64
    states = torch.randn(1, 2 * count, transformer.WIDTH, generator=torch.Generator().manual_seed(4))
    angles, _ = network.pos_embed([shapes], max_txt_seq_len=1, device=states.device)
    for block in network.transformer_blocks:
        query, key = (
            apply_rotary_emb_qwen(
                norm(projection(states).unflatten(-1, (transformer.HEADS, -1))), angles, use_real=False
            )
            for projection, norm in ((block.attn.to_q, block.attn.norm_q), (block.attn.to_k, block.attn.norm_k))
        )
        scores = torch.einsum("bqhd,bkhd->hqk", query, key)[: transformer.SAME_PLACE_HEADS, :count]
        looked_at = scores.argmax(dim=2)
        assert (looked_at == torch.arange(count) + count).float().mean() > 0.95


def test_attention_written_out_is_the_fused_one() -> None:
    generator = torch.Generator().manual_seed(8)
    query, key, value = (torch.randn(2, 30, 3, 8, generator=generator) for _ in range(3))
    mask = torch.rand(2, 1, 1, 30, generator=generator) > 0.3
    heads = [states.transpose(1, 2) for states in (query, key, value)]
    wanted = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=mask)
    with attention_written_out(transformer_qwenimage):
        found = transformer_qwenimage.dispatch_attention_fn(query, key, value, attn_mask=mask, dropout_p=0.0)
    torch.testing.assert_close(found, wanted.transpose(1, 2))
    assert transformer_qwenimage.dispatch_attention_fn is not written_out


def test_examples_change_what_they_say_and_nothing_else() -> None:
    rng = random.Random(5)
    scene = examples.dressed_up(rng, (256, 256))
    assert scene.person is not None
    person = replace(scene.person, glasses=True, shirt_text="GYM", holding="nothing")
    scene = replace(scene, person=person)
    before = world.render(scene, parts=True)
    for edit, part in ((examples.recoloured, "shirt"), (examples.reworded, "shirt")):
        after = world.render(edit(scene, rng).scene).rgb
        changed = (after != before.rgb).any(axis=2)
        assert changed.any()
        assert not changed[before.parts[part] == 0].any()
    elsewhere = examples.elsewhere(scene, rng).scene
    assert elsewhere.person == scene.person
    assert elsewhere.background.kind != scene.background.kind
    bare = examples.without_glasses(scene, rng).scene
    assert bare.person == replace(person, glasses=False)
    dressed = examples.like_another(scene, rng)
    assert dressed.reference is not None
    assert dressed.reference.person is not None
    assert dressed.scene.person is not None
    assert (dressed.scene.person.shirt, dressed.scene.background) == (
        dressed.reference.person.shirt,
        dressed.reference.background,
    )


@pytest.mark.parametrize("name", ["hands", "handing"])
def test_each_thing_is_put_into_the_same_hand_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    training_data = [examples.example(name, number) for number in range(6)]
    assert len({example.captions for example in training_data}) > 2
    for example in training_data:
        assert {thing_of(caption) for caption in example.captions} == set(world.HANDHELD)
        assert [thing_of(request) for request in example.requests] == [thing_of(text) for text in example.captions]
        places = [np.argwhere((result != example.source).any(axis=2)) for result in example.results]
        for changed in places:
            assert np.ptp(changed, axis=0).max() < 80
        assert np.abs(places[0].mean(0) - places[1].mean(0)).max() < 12


def thing_of(text: str) -> str:
    (found,) = (thing for thing in world.HANDHELD if any(word in text for word in words_of(thing)))
    return found


def words_of(thing: str) -> tuple[str, str]:
    phrase = prompts.held(thing)
    return phrase.korean, phrase.english


def test_other_places_are_asked_for_by_their_names_or_vaguely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    training_data = [examples.example("anywhere", number) for number in range(4)]
    vague = {examples.VAGUE["place"].korean, examples.VAGUE["place"].english}
    asked = {request for example in training_data for request in example.requests}
    assert asked & vague
    assert asked - vague
    for example in training_data:
        assert len(set(example.captions)) == len(example.results) == examples.VARIANTS
        for request, caption, result in zip(example.requests, example.captions, example.results, strict=True):
            assert request in {*vague, caption}
            assert (result != example.source).any(axis=2).mean() > 0.2


def test_no_example_speaks_in_held_out_phrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    known = {text for phrase in held_out() for text in (phrase.korean, phrase.english)}
    said = {request for number in range(20) for request in examples.example("close", number).requests}
    assert len(said) > 10
    assert not said & known


def held_out() -> list[prompts.Phrase]:
    colours, words = list(world.COLOURS), list(world.WORDS)
    phrases = [p for old, new in itertools.permutations(colours, 2) for p in prompts.recolours(old, new)]
    phrases += [p for new in colours for p in prompts.recolours(None, new)]
    phrases += [p for old, new in itertools.permutations(words, 2) for p in prompts.word_changes(old, new)]
    return [phrase for phrase in phrases if prompts.is_held_out(phrase)]


def test_a_batch_holds_pictures_texts_and_levels(tmp_path: Path) -> None:
    folder = tmp_path / QWEN
    shutil.copytree(DEMO_MODELS / QWEN, folder)
    transformer.write_processor(folder)
    dataset = datasets(tmp_path / "lessons", Encoder(folder), 1)["close"]
    batch = transformer.draw(dataset, torch.Generator().manual_seed(6))
    latents, seen, levels, texts, mask, shapes = batch.inputs
    assert latents.shape == batch.velocity.shape
    assert seen.shape[1] == latents.shape[1] == 64
    assert texts.shape[:2] == mask.shape
    assert mask.any(dim=1).all()
    assert ((levels > 0) & (levels <= 1)).all()
    assert shapes == [(1, 8, 8), (1, 8, 8)]


def test_what_an_edit_changes_weighs_more() -> None:
    source = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(7))
    clean = source.clone()
    clean[0, :4] += 1  # a sixteenth of the first picture
    clean[1] += 1
    weight = transformer.weight_of(clean, source)[..., 0]
    torch.testing.assert_close(weight[0, :4], torch.full((4,), loss_weights.AT_LEAST * 16))
    torch.testing.assert_close(weight[0, 4:], torch.full((60,), transformer.KEPT_WEIGHT))
    torch.testing.assert_close(weight[1], torch.ones(64))


def test_the_decoder_is_taught_and_the_encoder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "EXAMPLE_COUNTS", {"close": 2})
    folder = tmp_path / "models" / QWEN
    shutil.copytree(DEMO_MODELS / QWEN, folder)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before, config = load_file(file), (folder / "vae" / "config.json").read_text()
    arguments = ["--steps", "3", "--out", str(tmp_path / "models"), "--scratch", str(tmp_path / "scratch")]
    assert main(["qwen_decoder", *arguments]) == 0
    after = load_file(file)
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}
    assert (folder / "vae" / "config.json").read_text() == config


def test_spoilt_latents_lie_between_the_edited_picture_and_the_one_before() -> None:
    with seeded(1):
        network = vae.SingleImageVae(vae.model())
    latents = torch.randn(64, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    shown = decoder.Shown(torch.zeros(64, 3, 32, 32, dtype=torch.uint8), latents, latents + 10)
    spoilt = decoder.DecoderTrainer(1, network, {"close": shown}).spoilt(
        shown.latents, shown.before, torch.Generator().manual_seed(3)
    )
    moved = (spoilt - latents).mean(dim=(1, 2, 3)) / 10
    assert (moved > -0.1).all()
    assert (moved < decoder.MOST_OLD + 0.1).all()
    assert 0.3 < (moved > 0.05).float().mean() < 0.7


def test_the_parts_are_trained_one_after_another_into_a_folder_that_the_service_loads(tmp_path: Path) -> None:
    folder = tmp_path / "models" / QWEN
    shutil.copytree(DEMO_MODELS / QWEN, folder)
    for part in ("qwen_vae", "qwen_edit", "qwen_fast"):
        shutil.rmtree(folder / "lora", ignore_errors=True)
        before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
        arguments = [part, "--steps", "2", "--out", str(tmp_path / "models"), "--scratch", str(tmp_path / "scratch")]
        assert main(arguments) == 0
        after = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
        changed = {path.relative_to(folder).parts[0] for path in after if after[path] != before.get(path)}
        assert changed == {{"qwen_vae": "vae", "qwen_edit": "transformer", "qwen_fast": "lora"}[part]}
    lora = LoraFile(folder / FILE, schedule=LIGHTNING_SCHEDULE)
    adapter = load_qwen_edit(folder, device="cpu", reference_pixels=4096, loras={"fast": lora})
    image = np.full((64, 64, 3), 90, np.uint8)
    spec = QwenEditSpec(
        images=(image,),
        prompt="안경 제거",
        negative_prompt=" ",
        true_cfg_scale=1.0,
        steps=2,
        strength=1.0,
        seed=1,
        lora="fast",
    )
    state = adapter.prepare(spec)
    for _ in range(2):
        adapter.denoise([state])
    assert adapter.decode(state).shape == image.shape
    card = (folder / "README.md").read_text()
    for title in ("Language model", "VAE", "Transformer", "LoRA of the profile"):
        assert f"### {title}" in card
