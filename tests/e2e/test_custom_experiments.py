"""Experiments that are YAML and nothing else.

The two examples, run with real services.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.world.guide import EXPANSIONS, TRANSLATIONS
from imgedit import SyncEditClient
from imgedit.errors import InvalidArgument
from imgedit.v1 import edit_pb2

from .conftest import RunningStack
from .orchestrators import orchestrator

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"


@pytest.fixture(scope="module")
def cut_out(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncEditClient]:
    with (
        orchestrator(stack.ports, EXAMPLES / "cut_out.yaml", tmp_path_factory.mktemp("cut_out")) as running,
        SyncEditClient(running.target) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def two_models(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncEditClient]:
    catalogue = EXAMPLES / "outpaint_then_edit.yaml"
    with (
        orchestrator(stack.ports, catalogue, tmp_path_factory.mktemp("two_models")) as running,
        SyncEditClient(running.target) as client,
    ):
        yield client


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_segment_alone_answers_the_picture_without_its_background(cut_out: SyncEditClient, photo: Path) -> None:
    answer = cut_out.edit(photo, experiment="cut_out")
    result, alpha = pixels(answer.output_image), pixels(answer.mask_image)
    assert result.shape == (600, 512, 4)
    assert np.array_equal(result[..., 3], alpha)
    assert 0.02 < (alpha == 0).mean() < 0.98
    assert [model.model_id for model in answer.effective.models] == ["BEN2"]
    assert [timing.name for timing in answer.stage_timings] == ["segment"]
    assert answer.effective.mask_source == edit_pb2.MASK_SOURCE_SEGMENTATION
    original = np.asarray(Image.open(photo))
    assert np.array_equal(result[alpha == 255, :3], original[alpha == 255])


def test_a_mask_chooses_what_a_cut_out_keeps(cut_out: SyncEditClient, photo: Path) -> None:
    subject = pixels(cut_out.edit(photo, experiment="cut_out").output_image)[..., 3]
    rest = pixels(cut_out.edit(photo, experiment="cut_out", feature="background").output_image)[..., 3]
    assert (rest[subject == 255] == 0).all()
    assert (rest[subject == 0] == 255).all()

    mask = Image.new("L", (512, 600), 0)
    mask.paste(255, (0, 0, 256, 600))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    own = cut_out.edit(photo, experiment="cut_out", feature="background", mask=buffer.getvalue())
    assert np.array_equal(pixels(own.output_image)[..., 3], np.asarray(mask))


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "a gym"},
        {"negative_prompt": ""},
        {"steps": 20},
        {"guidance_scale": 3.0},
        {"strength": 0.5},
        {"seed": 1},
        {"profile": "high"},
        {"preview_every": 1},
        {"output": edit_pb2.OutputOptions(format=edit_pb2.OUTPUT_FORMAT_JPEG)},
    ],
)
def test_what_a_cut_out_has_no_use_for_is_refused(
    cut_out: SyncEditClient, photo: Path, options: dict[str, object]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        cut_out.edit(photo, experiment="cut_out", **options)  # type: ignore[typeddict-item]
    assert caught.value.violations[0].field.partition(".")[0] == next(iter(options))


def test_the_form_of_a_cut_out_asks_for_no_prompt(cut_out: SyncEditClient) -> None:
    [experiment] = cut_out.experiments()
    assert experiment.available
    names = {spec.name for spec in experiment.features[0].parameters}
    assert names.isdisjoint({"prompt", "steps", "seed", "profile", "guidance_scale", "strength"})
    assert not experiment.features[0].profiles
    assert not experiment.features[0].prompt_languages


def test_two_models_paint_one_after_the_other(two_models: SyncEditClient, photo: Path) -> None:
    stages: list[str] = []
    steps: list[tuple[str, int]] = []

    def listen(event: edit_pb2.EditEvent) -> None:
        if event.HasField("stage"):
            stages.append(event.stage.name)
        if event.HasField("progress"):
            steps.append((event.progress.stage, event.progress.step))

    answer = two_models.edit(
        photo,
        experiment="outpaint_then_edit",
        prompt="배경을 야외 공원으로 변경",
        outpaint=edit_pb2.Outpaint(left=64, bottom=32),
        steps=10,
        strength=0.5,
        seed=3,
        on_event=listen,
    )
    assert (answer.width, answer.height) == (512 + 64, 600 + 32)
    assert stages == ["extend", "fill", "composite", "qwen_edit", "composite"]
    assert [step for stage, step in steps if stage == "fill"] == list(range(1, 29))
    assert [step for stage, step in steps if stage == "qwen_edit"] == list(range(1, 6))
    assert [model.model_id for model in answer.effective.models] == ["FLUX.1-Fill", "Qwen-Image-Edit-2509"]
    assert (answer.effective.steps, answer.effective.steps_run, answer.effective.strength) == (10, 5, 0.5)
    assert answer.effective.prompt == "배경을 야외 공원으로 변경"
    assert answer.effective.negative_prompt == "blurry, low quality, distorted, ugly, deformed"
    assert (pixels(answer.mask_image) == 255).all()


def test_without_a_second_edit_the_first_models_margins_remain(two_models: SyncEditClient, photo: Path) -> None:
    answer = two_models.edit(
        photo, experiment="outpaint_then_edit", prompt="x", outpaint=edit_pb2.Outpaint(left=64), strength=0.0
    )
    result, weight = pixels(answer.output_image), pixels(answer.mask_image)
    assert np.array_equal(result[:, 64:], np.asarray(Image.open(photo)))
    assert not weight[:, 64:].any()
    assert weight[:, :30].min() > 0
    reflected = np.pad(np.asarray(Image.open(photo)), ((0, 0), (64, 0), (0, 0)), mode="reflect")
    assert not np.array_equal(result[:, :30], reflected[:, :30])


REWRITING = """
experiments:
  - id: "written_out"
    name: "written out"
    models: [{model_id: "Qwen-Image-Edit-2509"}]
    features:
      - id: "edit"
        name: "edit"
        stages: [{rewrite_prompt: {expand: true}}, qwen_edit, composite]
        parameters: &numbers
          steps: {default: 10, min: 1, max: 50}
          guidance_scale: {default: 1.0, min: 1.0, max: 15.0}
          strength: {default: 1.0, min: 0.0, max: 1.0}
      - id: "translated"
        name: "translated"
        stages: [rewrite_prompt, qwen_edit, composite]
        parameters: *numbers
"""


def test_a_stage_in_the_chain_rewrites_what_the_model_could_read(
    stack: RunningStack, photo: Path, tmp_path: Path
) -> None:
    catalogue = tmp_path / "rewriting.yaml"
    catalogue.write_text(REWRITING, encoding="utf-8")
    with orchestrator(stack.ports, catalogue, tmp_path) as running, SyncEditClient(running.target) as client:
        expanded = client.edit(photo, experiment="written_out", prompt="배경 변경")
        translated = client.edit(photo, experiment="written_out", feature="translated", prompt="배경 변경")
        english = client.edit(photo, experiment="written_out", feature="translated", prompt="a gym")
    assert expanded.effective.prompt == EXPANSIONS["배경 변경"]
    assert expanded.effective.prompt_rewrite == edit_pb2.PROMPT_REWRITE_EXPANDED
    assert translated.effective.prompt == TRANSLATIONS["배경 변경"]
    assert [timing.name for timing in translated.stage_timings] == ["rewrite_prompt", "qwen_edit", "composite"]
    assert [timing.name for timing in english.stage_timings] == ["qwen_edit", "composite"]
