"""ComfyUI workflows as experiments: valid ones, and rejected ones.

A rejection names node, field, value and range.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from imgedit.v1 import edit_pb2
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.comfyui import document, importing, planning, writing
from services.orchestrator.catalogue.comfyui.document import WorkflowError
from services.orchestrator.catalogue.comfyui.graph import Graph
from services.orchestrator.catalogue.experiments import ExtendStage, Feature, FillStage, MaskStage, QwenEditStage
from services.orchestrator.request import parameters
from tests.manual import ROOT, blocks

DATA = Path(__file__).parents[2] / "data" / "comfyui"
REFUSED = ("guide_skeleton",)
ACCEPTED = sorted(path.stem for path in DATA.glob("*.json") if path.stem not in REFUSED)

Workflow = dict[str, Any]


def workflow(name: str) -> Workflow:
    found: Workflow = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def made(nodes: Workflow, save_node: str | None = None) -> str:
    """The YAML of a workflow, not yet looked at by the catalogue."""
    graph = Graph(document.parse(json.dumps(nodes).encode()))
    return writing.catalogue_text(planning.plan_experiment(graph, graph.end(save_node)), "made", "made.json")


def feature(nodes: Workflow, tmp_path: Path, save_node: str | None = None) -> Feature:
    """The one feature of a workflow's experiment, as the catalogue loads it."""
    path = tmp_path / "made.yaml"
    path.write_text(made(nodes, save_node), encoding="utf-8")
    [experiment] = experiments.load_catalogue(path).experiments
    [found] = experiment.features
    return found


def with_inputs(name: str, node: str, **inputs: Any) -> Workflow:
    """A test workflow with changed inputs of a node."""
    found = workflow(name)
    found[node]["inputs"].update(inputs)
    return found


def without(name: str, node: str, *inputs: str) -> Workflow:
    found = workflow(name)
    for key in inputs:
        del found[node]["inputs"][key]
    return found


def with_node(name: str, id: str, kind: str, **inputs: Any) -> Workflow:
    return {**workflow(name), id: {"class_type": kind, "inputs": inputs}}


def refusal(nodes: Workflow) -> str:
    with pytest.raises(WorkflowError) as caught:
        made(nodes)
    return caught.value.message


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_workflow_becomes_the_yaml_that_stands_beside_it(name: str) -> None:
    path = DATA / f"{name}.json"
    text = importing.imported(path)
    assert text == path.with_suffix(".yaml").read_text(encoding="utf-8")
    loaded = experiments.load_catalogue(path.with_suffix(".yaml"))
    assert [experiment.id for experiment in loaded.experiments] == [name]


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_line_with_a_value_says_why(name: str) -> None:
    lines = importing.imported(DATA / f"{name}.json").splitlines()
    start = lines.index("        stages:")
    for before, line in zip(lines[start:], lines[start + 1 :], strict=False):
        is_comment, is_heading = line.lstrip().startswith("#"), line.strip() in ("parameters:", "defaults:")
        assert is_comment or is_heading or "  # " in line or before.lstrip().startswith("#"), line


def test_a_request_with_nothing_but_a_picture_runs_as_the_workflow_did(tmp_path: Path) -> None:
    found = parameters.resolve_parameters(edit_pb2.EditRequest(), feature(workflow("flux_inpaint"), tmp_path))
    assert (found.prompt, found.seed) == ("a bright modern gym with a rack of dumbbells", 42)
    assert (found.steps, found.guidance_scale, found.strength) == (20, 30, 1)
    [use] = found.region.masks
    options = use.options
    assert (options.subject, options.threshold, options.grow_px, options.feather_px) == ("background", 0.4, 12, 6)


def test_margins_of_the_workflow_are_the_features(tmp_path: Path) -> None:
    found = feature(workflow("flux_outpaint"), tmp_path)
    stage = next(stage for stage in found.stages if isinstance(stage, ExtendStage))
    assert stage.margins == {"left": 400, "right": 400, "top": 0, "bottom": 96}
    assert stage.feather_px == 24
    assert found.defaults.seed == 656821733471329 % 2**32


def test_a_gguf_file_and_a_lora_become_settings_and_the_profile() -> None:
    assert "#   IMGEDIT_FILL_GGUF=FLUX.1-Fill-dev-Q8_0.gguf" in made(workflow("flux_gguf"))
    with_lora = made(workflow("flux_lora"))
    assert "#   IMGEDIT_FILL_LORA_FAST=FLUX.1-Turbo-Alpha.safetensors" in with_lora
    loaded = yaml.safe_load(with_lora)["experiments"][0]["features"][0]
    assert loaded["defaults"]["profile"] == "fast"
    assert loaded["parameters"]["steps"] == {"default": 8, "min": 8, "max": 50}
    on_windows = made(with_inputs("flux_gguf", "31", unet_name="flux\\fill-Q4_K.gguf"))
    assert "#   IMGEDIT_FILL_GGUF=flux/fill-Q4_K.gguf" in on_windows


def test_skipped_steps_of_the_advanced_sampler_are_skipped_here(tmp_path: Path) -> None:
    for steps, start in ((28, 5), (20, 3), (7, 6), (100, 1), (30, 0)):
        nodes = with_inputs("flux_gguf", "3", steps=steps, start_at_step=start)
        request = edit_pb2.EditRequest(mask_image=b"x")
        assert parameters.resolve_parameters(request, feature(nodes, tmp_path)).steps_run == steps - start


def test_three_pictures_are_the_picture_and_two_references(tmp_path: Path) -> None:
    found = feature(workflow("qwen_three_pictures"), tmp_path)
    assert parameters.max_references(found) == 2
    assert found.id == "multi_image_editing"
    assert parameters.max_references(feature(workflow("qwen_one_picture"), tmp_path)) == 0


def test_the_guides_second_snippet_takes_the_callers_mask(tmp_path: Path) -> None:
    found = feature(workflow("manual_mask"), tmp_path)
    assert [stage.kind for stage in found.stages] == ["mask", "fill", "composite"]
    assert found.requires_mask
    [use] = parameters.resolve_parameters(edit_pb2.EditRequest(mask_image=b"x"), found).region.masks
    assert (use.options.subject, use.options.invert, use.options.grow_px) == (None, True, 6)


def test_the_negative_prompt_of_node_5_is_the_features(tmp_path: Path) -> None:
    found = parameters.resolve_parameters(edit_pb2.EditRequest(), feature(workflow("negative_prompt"), tmp_path))
    assert found.negative_prompt == "blurry, extra fingers, bad hands"
    assert (found.negative_scale, found.guidance_scale) == (3.5, 3.5)
    subject = feature(workflow("qwen_lightning_subject"), tmp_path)
    [stage] = subject.paint_stages
    assert isinstance(stage, QwenEditStage)
    assert stage.automatic_negative_prompt == "blurry, extra fingers, bad hands"


def test_passes_follow_one_another_and_the_last_reads_the_prompt(tmp_path: Path) -> None:
    found = feature(workflow("outpaint_then_edit"), tmp_path)
    assert [stage.kind for stage in found.stages] == ["extend", "fill", "composite", "qwen_edit", "composite"]
    first, last = found.paint_stages
    assert isinstance(first, FillStage)
    assert (first.prompt, first.steps, first.guidance_scale) == ("the same scene continues to all sides", 20, 30)
    assert found.prompt_stage is last


def test_the_guides_skeleton_is_refused_at_its_custom_node(tmp_path: Path) -> None:
    message = refusal(workflow("guide_skeleton"))
    assert message == (
        'node "3" (CustomNode): class_type: no such node is known here; it feeds images of node "4" (SaveImage)'
    )
    many = {f"s{n}": {"class_type": "Other", "inputs": {"images": ["3", 0]}} for n in range(400)}
    told = refusal({**workflow("guide_skeleton"), "4": {"class_type": "SaveImages", "inputs": {}}, **many})
    assert "and 395 more" in told
    assert max(map(len, told.splitlines())) < 500
    as_printed = {id: node for id, node in workflow("guide_skeleton").items() if id != "4"}
    assert 'node "3" (CustomNode): class_type: no such node' in refusal(as_printed)


CASES: list[tuple[Workflow, str]] = [
    (
        with_inputs("flux_inpaint", "3", sampler_name="dpmpp_2m"),
        'node "3" (KSampler): sampler_name: must be "euler", the only method here, is "dpmpp_2m"',
    ),
    (with_inputs("flux_inpaint", "3", scheduler="karras"), 'must be one of simple, normal, sgm_uniform, whose steps'),
    (with_inputs("flux_inpaint", "3", steps=0), "steps: must be 1 to 100, is 0"),
    (with_inputs("flux_inpaint", "3", steps=101), "steps: must be 1 to 100, is 101"),
    (with_inputs("flux_inpaint", "3", steps=20.5), "steps: must be a whole number, is 20.5"),
    (with_inputs("flux_inpaint", "3", steps=True), "steps: must be a whole number, is true"),
    (with_inputs("flux_inpaint", "3", steps="20"), 'steps: must be a whole number, is "20"'),
    (with_inputs("flux_inpaint", "3", steps=["17", 0]), 'steps: must be a value, is linked to node "17"'),
    (with_inputs("flux_inpaint", "3", denoise=1.1), "denoise: must be 0 to 1, is 1.1"),
    (with_inputs("flux_inpaint", "3", seed=-1), "seed: must be 0 to 18446744073709551615, is -1"),
    (with_inputs("flux_inpaint", "3", seed=2**64), "seed: must be 0 to 18446744073709551615, is 18446744073709551616"),
    (with_inputs("flux_inpaint", "3", cfg=3), "must lead to a prompt at a cfg above 1, is zeroed out at cfg 3"),
    (with_inputs("negative_prompt", "11", cfg=10.5), "cfg: must be 1 to 10, is 10.5"),
    (with_inputs("qwen_one_picture", "3", cfg=16), "cfg: must be 1 to 15, is 16"),
    (with_inputs("flux_inpaint", "26", guidance=101), "guidance: must be 0 to 100, is 101"),
    (with_inputs("flux_inpaint", "53", expand=-4), 'node "53" (GrowMask): expand: must be 0 to 256, is -4'),
    (with_inputs("flux_inpaint", "54", left=257), 'node "54" (FeatherMask): left: must be 0 to 256, is 257'),
    (with_inputs("flux_inpaint", "54", left=3), "must be one length, 0 to 256, for all sides, are left 3, top 6"),
    (with_inputs("flux_inpaint", "52", value=1), "value: must be above 0 and below 1, is 1"),
    (with_inputs("flux_inpaint", "60", x=5), 'node "60" (ImageCompositeMasked): x: must be 0, is 5'),
    (with_inputs("flux_inpaint", "60", mask=["51", 0]), "a chain paints and puts back by one mask"),
    (without("flux_inpaint", "60", "mask"), "mask: is missing; without one the whole picture is replaced"),
    (with_inputs("flux_inpaint", "31", unet_name="flux1-dev.safetensors"), "unet_name: must be of FLUX.1-Fill"),
    (with_inputs("qwen_one_picture", "37", unet_name="qwen_image_bf16.safetensors"), "must be of Qwen-Image-Edit-2509"),
    (with_inputs("flux_inpaint", "34", type="sd3"), 'type: must be "flux", for FLUX.1-Fill, is "sd3"'),
    (with_inputs("flux_inpaint", "23", text="x" * 2001), "text: must have at most 2000 characters, has 2001"),
    (with_inputs("flux_lora", "40", strength_model=0.8), "strength_model: must be 1, at which the services run a LoRA"),
    (with_inputs("flux_outpaint", "44", left=4097), "left: must be 0 to 4096, is 4097"),
    (with_inputs("flux_outpaint", "44", left=0, right=0, bottom=0), "one of them above 0, are 0"),
    (with_inputs("flux_outpaint", "38", pixels=["17", 0]), "must both be of one ImagePadForOutpaint"),
    (with_inputs("flux_gguf", "3", end_at_step=20), "end_at_step: must be 28 to 10000: a chain runs to the last step"),
    (with_inputs("flux_gguf", "3", add_noise="disable"), 'add_noise: must be "enable", is "disable"'),
    (with_inputs("flux_gguf", "18", megapixels=17), "megapixels: must be 0.01 to 16, is 17"),
    (with_inputs("qwen_three_pictures", "75", strength=0.5), "strength: must be 1, as it always is here, is 0.5"),
    (without("qwen_three_pictures", "111", "image2"), "image2: is missing though image3 is there"),
    (without("qwen_three_pictures", "111", "vae"), "vae: is missing; without it the model sees no pixels"),
    (with_inputs("qwen_three_pictures", "88", pixels=["106", 0]), "image1: must be the picture that is edited"),
    (without("flux_inpaint", "3", "steps"), 'node "3" (KSampler): steps: is missing'),
    (without("flux_inpaint", "3", "model"), 'model: must be a link to MODEL, such as ["4", 0], is missing'),
    (with_inputs("flux_inpaint", "3", model=["99", 0]), 'model: is linked to node "99", which is not there'),
    (with_inputs("flux_inpaint", "38", mask=["17", 7]), 'mask: is linked to output 7 of node "17"'),
    (with_inputs("flux_inpaint", "38", mask=["17", -1]), 'mask: is linked to output -1 of node "17"'),
    (with_inputs("flux_inpaint", "38", mask=["17", 0]), "must be a link to MASK, is linked to IMAGE, output 0 of"),
    (with_inputs("flux_inpaint", "51", mask=["54", 0]), 'leads back to node "54" (FeatherMask)'),
    (with_inputs("flux_inpaint", "9", images=["17", 0]), "images: must be a picture that a sampler painted"),
    (with_node("flux_inpaint", "70", "SaveImage", images=["8", 0]), "say with --save-node ID which one"),
    (
        with_node("qwen_one_picture", "70", "ImageScaleBy", image=["8", 0], scale_by=2, upscale_method="area")
        | {"60": {"class_type": "SaveImage", "inputs": {"images": ["70", 0]}}},
        'node "70" (ImageScaleBy): image: must not be the result: an answer has the size of the caller\'s picture',
    ),
    (with_inputs("cut_out", "3", images=["1", 0]), "images: must be a picture that a sampler painted"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "said"), CASES, ids=[said[:50] for _, said in CASES])
def test_what_no_chain_does_is_refused_by_node_field_value_and_range(nodes: Workflow, said: str) -> None:
    assert said in refusal(nodes)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON: line 1, column 1"),
        (b"{'a': 1}", "is not JSON: line 1, column 2"),
        (b"null", "must be a JSON object"),
        (b"[1]", "must be a JSON object with a node for each id, is a list"),
        (b"{}", "has no nodes"),
        (b'{"nodes": [], "links": [], "version": 0.4}', '"Workflow > Export (API)"'),
        (b"\x89PNG\r\n\x1a\n", "is a picture"),
        (b"\xff\xfe{", "is not UTF-8 text: byte 0"),
        (b'{"1": NaN}', "NaN is not a number"),
        (b'{"1": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"1": {}, "1": {}}', '"1" stands twice'),
        (b" " * (document.MAX_BYTES + 1), "must have at most 1024 KiB"),
        (json.dumps({str(i): {} for i in range(501)}).encode(), "must have at most 500 nodes, has 501"),
        (b'{"1": 3}', 'node "1": must be an object with "class_type" and "inputs", is 3'),
        (b'{"1": {"inputs": {}}}', 'node "1": class_type: must be a text, is missing'),
        (b'{"1": {"class_type": "A", "inputs": []}}', 'node "1": inputs: must be an object, is a list'),
        (b'{"1": {"class_type": "A", "inputs": {"t": "\\ud800"}}}', "half of a UTF-16 pair"),
        (json.dumps({"1": {"class_type": "A" * 201, "inputs": {}}}).encode(), "at most 200 characters, has 201"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bytes_that_are_no_workflow_are_refused_at_the_door(data: bytes, said: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        document.parse(data)
    assert said in caught.value.message


def test_a_file_is_named_and_an_id_is_made_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "My Workflow (2).json"
    path.write_text(json.dumps(workflow("cut_out")), encoding="utf-8")
    assert '- id: "my_workflow_2"' in importing.imported(path)
    assert '- id: "own"' in importing.imported(path, "own")
    with pytest.raises(WorkflowError, match="--id: must be 1 to 64 letters a to z, digits and _"):
        importing.imported(path, "Own Id")
    with pytest.raises(WorkflowError, match=r"none\.json: cannot be read: No such file"):
        importing.imported(tmp_path / "none.json")
    with pytest.raises(WorkflowError, match="cannot be read: Is a directory"):
        importing.imported(tmp_path)
    korean = tmp_path / "체육관.json"
    korean.write_bytes(path.read_bytes())
    with pytest.raises(WorkflowError, match="give one with --id"):
        importing.imported(korean)


def test_texts_of_a_workflow_cannot_leave_their_place(tmp_path: Path) -> None:
    evil = 'a\n      - id: "x"\r\u2028b\u0085c: [\u202e \x1b[31m # " \\'
    nodes = with_inputs("flux_inpaint", "23", text=evil)
    nodes["23"]["_meta"]["title"] = nodes["61"]["_meta"]["title"] = evil
    nodes["31"]["inputs"]["unet_name"] = f"fill {evil}"
    nodes[evil] = {"class_type": evil, "inputs": {}}
    found = feature(nodes, tmp_path)
    assert found.defaults.prompt == evil
    assert all(sign.isprintable() for line in made(nodes).split("\n") for sign in line)


def test_reroutes_and_primitives_are_looked_through(tmp_path: Path) -> None:
    nodes = with_inputs("flux_inpaint", "3", steps=["p", 0])
    nodes["p"] = {"class_type": "PrimitiveInt", "inputs": {"value": ["q", 0]}}
    nodes["q"] = {"class_type": "Reroute", "inputs": {"": ["r", 0]}}
    nodes["r"] = {"class_type": "PrimitiveInt", "inputs": {"value": 33}}
    steps = feature(nodes, tmp_path).parameters.steps
    assert steps is not None
    assert steps.default == 33
    nodes["r"] = {"class_type": "Reroute (rgthree)", "inputs": {"": ["q", 0]}}
    assert "so the workflow has no beginning" in refusal(nodes)


def test_nodes_that_the_result_does_not_need_are_told_and_left_out() -> None:
    nodes = with_node("flux_inpaint", "70", "Upscaler", image=["8", 0])
    nodes["3"]["inputs"]["control_after_generate"] = "randomize"
    nodes["3"]["inputs"]["extra_option"] = 3
    text = made(nodes)
    assert 'node "61" (PreviewImage' in text
    assert 'node "70" (Upscaler) is left out: the saved picture does not depend on it' in text
    assert 'node "3" (KSampler): extra_option is left out: no such input is known here' in text
    assert "control_after_generate" not in text


def test_the_manual_shows_what_its_workflow_becomes() -> None:
    page = blocks(ROOT / "docs" / "comfyui-workflows.md")
    shell = next(block.code for block in page if block.word == "shell")
    text = next(block.code for block in page if block.language == "text")
    nodes = json.loads(shell.partition("<<'END'\n")[2].partition("\nEND\n")[0])
    assert text in made(nodes)


def test_fluxs_own_shifts_are_taken_and_no_others(tmp_path: Path) -> None:
    nodes = with_inputs("flux_inpaint", "39", model=["70", 0])
    shifts = {"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024}
    nodes["70"] = {"class_type": "ModelSamplingFlux", "inputs": {**shifts, "model": ["31", 0]}}
    assert feature(nodes, tmp_path).id == "inpainting"
    nodes["70"]["inputs"]["max_shift"] = 2
    assert "max_shift: must be 1.15, as it always is here, is 2" in refusal(nodes)


def test_of_several_saved_pictures_one_is_named(tmp_path: Path) -> None:
    nodes = with_node("flux_inpaint", "70", "SaveImage", images=["8", 0], filename_prefix="raw")
    assert feature(nodes, tmp_path, "70") == feature(nodes, tmp_path, "9")
    with pytest.raises(
        WorkflowError, match='--save-node 8: is no SaveImage or PreviewImage; there are "9", "61", "70"'
    ):
        made(nodes, "8")
    nodes["70"]["inputs"]["images"] = ["60", 0]  # the same picture twice
    assert feature(nodes, tmp_path).id == "inpainting"


def test_a_saved_cut_out_beside_the_result_is_the_answers(tmp_path: Path) -> None:
    nodes = with_node("qwen_one_picture", "50", "BEN2BackgroundRemoval", image=["78", 0])
    nodes["51"] = {"class_type": "SaveImage", "inputs": {"images": ["50", 0], "filename_prefix": "cut"}}
    assert [stage.kind for stage in feature(nodes, tmp_path).stages] == ["segment", "qwen_edit", "composite"]


def test_a_cut_out_that_is_edited_is_laid_on_white(tmp_path: Path) -> None:
    nodes = with_node("qwen_one_picture", "50", "RMBG", image=["78", 0], background="Alpha")
    nodes["93"]["inputs"]["image"] = ["50", 0]
    found = feature(nodes, tmp_path)
    assert [stage.kind for stage in found.stages] == ["segment", "mask", "qwen_edit", "composite"]
    [stage] = found.paint_stages
    assert isinstance(stage, QwenEditStage)
    assert stage.background == "remove"
    nodes["50"]["inputs"]["background"] = "green"
    assert 'background: must be "Alpha" or "white" or "#ffffff", is "green"' in refusal(nodes)


def test_the_kept_picture_may_be_laid_on_top(tmp_path: Path) -> None:
    nodes = with_inputs("qwen_one_picture", "60", images=["70", 0])
    nodes["50"] = {"class_type": "BEN2BackgroundRemoval", "inputs": {"image": ["78", 0]}}
    nodes["70"] = {
        "class_type": "ImageCompositeMasked",
        "inputs": {"destination": ["8", 0], "source": ["93", 0], "mask": ["50", 1], "x": 0, "y": 0},
    }
    mask = next(stage for stage in feature(nodes, tmp_path).stages if isinstance(stage, MaskStage))
    assert mask.choose == "background"


def test_no_workflow_ends_otherwise_than_by_an_experiment_or_a_refusal(tmp_path: Path) -> None:
    """Nodes deleted, rewired, renamed and filled with unexpected values.

    A fixed seed makes failures repeatable.
    """
    draw = random.Random(20)
    known = [workflow(path.stem) for path in sorted(DATA.glob("*.json"))]
    kinds = sorted({node["class_type"] for nodes in known for node in nodes.values()} | {"Reroute", "PrimitiveInt"})
    values: list[Any] = [0, -1, 2**70, 0.5, 1e300, "", "x", None, True, [], {}, ["1", 0], ["8", 1], ["3"], "a" * 3000]
    changes: list[Callable[[Workflow, str, str], None]] = [
        lambda nodes, node, name: nodes[node]["inputs"].pop(name),
        lambda nodes, node, name: nodes[node]["inputs"].update({name: draw.choice(values)}),
        lambda nodes, node, name: nodes[node]["inputs"].update({name: [draw.choice(list(nodes)), draw.randrange(3)]}),
        lambda nodes, node, _: nodes[node].update(class_type=draw.choice(kinds)),
        lambda nodes, node, _: nodes.pop(node),
    ]
    told: list[str] = []
    for _ in range(200):
        nodes = copy.deepcopy(draw.choice(known))
        node = draw.choice(list(nodes))
        draw.choice(changes)(nodes, node, draw.choice(list(nodes[node]["inputs"])))
        try:
            text = made(nodes)
        except WorkflowError as error:
            told.append(error.message)
            continue
        assert yaml.safe_load(text)["experiments"][0]["features"]
    assert all(message.strip() for message in told)
    assert 0 < len(told) < 200
