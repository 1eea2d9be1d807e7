"""The operators' view: catalogue, reflection, health, metrics, command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image

from imgedit import SyncEditClient
from imgedit.local.services import SERVICES
from tests.terminal import output_of

from .conftest import RunningStack

FULL_NAMES = {
    "orchestrator": "imgedit.v1.EditService",
    "segmentation": "imgedit.inference.v1.SegmentationService",
    "fill": "imgedit.inference.v1.FillService",
    "qwen_edit": "imgedit.inference.v1.QwenEditService",
}


def scrape(stack: RunningStack, service: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports.metrics_port(service)}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def samples(text: str, name: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def command(stack: RunningStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "imgedit"), *arguments],
        env={**os.environ, "IMGEDIT_TARGET": stack.target, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_experiments_are_those_of_the_guide_and_the_cut_out(client: SyncEditClient) -> None:
    found = client.experiments()
    assert [(e.id, e.name, e.description) for e in found] == [
        ("ben2_flux_fill", "BEN2 + FLUX.1-Fill", "배경 제거 후 인페인팅/아웃페인팅"),
        ("ben2_qwen_image", "BEN2 + Qwen-Image", "배경 제거 후 정밀 편집"),
        ("ben2", "BEN2", "배경 제거"),
    ]
    assert [(f.id, f.name) for e in found for f in e.features] == [
        ("inpainting", "영역 채우기"),
        ("outpainting", "이미지 확장"),
        ("appearance_editing", "외관 편집"),
        ("semantic_editing", "의미론적 편집"),
        ("text_editing", "텍스트 편집"),
        ("multi_image_editing", "다중 이미지 편집"),
        ("background_removal", "배경 제거"),
    ]
    removal = found[-1].features[0]
    assert (removal.task["ko"], removal.task["en"]) == ("배경 제거", "Remove the background")
    assert found[0].features[0].examples[1].prompt["ko"] == "배경을 현대적인 체육관으로 변경"


def test_each_parameter_has_what_a_form_needs(client: SyncEditClient) -> None:
    painting = [one for one in client.experiments() if one.id != "ben2"]
    for feature in (feature for experiment in painting for feature in experiment.features):
        specs = {spec.name: spec for spec in feature.parameters}
        steps, guidance, strength = specs["steps"], specs["guidance_scale"], specs["strength"]
        assert (steps.default.number_value, steps.range.min, steps.range.max) == (28, 10, 50)
        assert (guidance.default.number_value, guidance.range.min, guidance.range.max) == (3.5, 1.0, 15.0)
        assert (strength.range.min, strength.range.max) == (0.0, 1.0)
        assert strength.default.number_value == (1.0 if feature.id == "outpainting" else 0.8)
        assert all(spec.help["ko"] and spec.help["en"] for spec in specs.values())
        assert specs["prompt"].required
        assert specs["prompt"].length.max == 2000


def test_pages_of_the_catalogue_add_up(stack: RunningStack, client: SyncEditClient) -> None:
    from imgedit.v1 import edit_pb2, edit_pb2_grpc

    with grpc.insecure_channel(stack.target) as channel:
        stub = edit_pb2_grpc.EditServiceStub(channel)
        first = stub.ListExperiments(edit_pb2.ListExperimentsRequest(page_size=1))
        second = stub.ListExperiments(edit_pb2.ListExperimentsRequest(page_size=2, page_token=first.next_page_token))
    assert [e.id for e in (*first.experiments, *second.experiments)] == [e.id for e in client.experiments()]
    assert not second.next_page_token


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_lists_the_service(stack: RunningStack, service: str) -> None:
    with grpc.insecure_channel(stack.ports.address(service)) as channel:
        names = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert FULL_NAMES[service] in names
    assert "grpc.health.v1.Health" in names


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_serving_overall_and_by_name(stack: RunningStack, service: str) -> None:
    with grpc.insecure_channel(stack.ports.address(service)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", FULL_NAMES[service]):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", SERVICES)
def test_probes_answer(stack: RunningStack, service: str) -> None:
    base = f"http://127.0.0.1:{stack.ports.metrics_port(service)}"
    for path in ("/livez", "/readyz"):
        assert urllib.request.urlopen(base + path, timeout=5).status == 200
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(base + "/nothing", timeout=5)


def test_the_latency_histograms_have_data_after_an_edit(
    stack: RunningStack, client: SyncEditClient, photo: Path
) -> None:
    for experiment in ("ben2_flux_fill", "ben2_qwen_image"):
        client.edit(photo, experiment=experiment, prompt="a gym", steps=10, strength=0.2)
    edits = samples(scrape(stack, "orchestrator"), "imgedit_edit_duration_seconds_count")
    assert edits['imgedit_edit_duration_seconds_count{code="OK",experiment="ben2_flux_fill",feature="inpainting"}'] >= 1
    stages = samples(scrape(stack, "orchestrator"), "imgedit_stage_duration_seconds_count")
    assert {f'imgedit_stage_duration_seconds_count{{stage="{stage}"}}' for stage in ("segment", "fill")} <= set(stages)
    for service, rpc in (("segmentation", "Segment"), ("fill", "Fill"), ("qwen_edit", "Edit")):
        calls = samples(scrape(stack, service), "imgedit_rpc_duration_seconds_count")
        assert calls[f'imgedit_rpc_duration_seconds_count{{code="OK",rpc="{rpc}",service="{service}"}}'] >= 1
        assert samples(scrape(stack, service), "imgedit_model_loaded") == {
            f'imgedit_model_loaded{{service="{service}"}}': 1.0
        }


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: apt-get install prometheus")
@pytest.mark.parametrize("service", SERVICES)
def test_promtool_finds_no_fault_in_the_metrics(stack: RunningStack, service: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(stack, service), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_command_line_edits_a_file(stack: RunningStack, photo: Path, tmp_path: Path) -> None:
    out, again, cutout = (tmp_path / name for name in ("out.png", "again.png", "cutout.png"))
    arguments = [str(photo), "--experiment", "ben2_flux_fill", "--feature", "inpainting", "--prompt", "a gym"]
    arguments += ["--seed", "7", "--cutout", str(cutout)]
    done = command(stack, "edit", *arguments, "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    assert [size_of(path) for path in (out, cutout)] == [size_of(photo)] * 2
    assert command(stack, "edit", *arguments, "--force", "-o", str(again)).returncode == 0
    assert out.read_bytes() == again.read_bytes()


def test_the_shell_is_offered_what_the_server_has(stack: RunningStack) -> None:
    def offered(line: str, target: str = stack.target) -> set[str]:
        environment = {"_IMGEDIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "imgedit")],
            env={**os.environ, **environment, "IMGEDIT_TARGET": target},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not done.stderr
        return set(done.stdout.split())

    assert offered("imgedit edit -e ") == {"ben2_flux_fill", "ben2_qwen_image", "ben2"}
    assert offered("imgedit edit -e ben2_flux_fill -f ") == {"inpainting", "outpainting"}
    assert offered("imgedit batch -f text") == {"text_editing"}
    assert offered("imgedit edit -e ", "127.0.0.1:1") == set()


def test_with_json_the_command_line_prints_one_object(stack: RunningStack, photo: Path, tmp_path: Path) -> None:
    out, mask = tmp_path / "out.webp", tmp_path / "mask.png"
    arguments = ["edit", str(photo), "-e", "ben2_flux_fill", "-p", "a gym", "--seed", "7", "--json"]
    answer = json.loads(command(stack, *arguments, "-o", str(out), "--mask-output", str(mask)).stdout)
    assert (answer["output"], answer["mask"], answer["seed"]) == (str(out), str(mask), 7)
    assert (answer["width"], answer["height"]) == size_of(photo) == size_of(out)
    assert answer["effective"]["feature_id"] == "inpainting"
    assert [stage["name"] for stage in answer["stages"]] == ["segment", "mask", "fill", "composite"]
    refused = command(stack, *arguments, "--steps", "9")
    error = json.loads(refused.stdout)["error"]
    assert (refused.returncode, error["reason"], error["violations"][0]["field"]) == (1, "INVALID_FIELD", "steps")
    assert error["request_id"]
    listed = json.loads(command(stack, "experiments", "--json").stdout)["experiments"]
    assert [experiment["id"] for experiment in listed] == ["ben2_flux_fill", "ben2_qwen_image", "ben2"]
    assert listed[0]["features"][0]["parameters"]
    health = json.loads(command(stack, "health", "--json").stdout)
    assert (health["target"], health["serving"]) == (stack.target, True)
    assert all(experiment["available"] for experiment in health["experiments"])


@pytest.mark.parametrize(("options", "shown"), [((), True), (("--quiet",), False)])
def test_a_terminal_shows_stage_step_and_time_of_an_edit(
    stack: RunningStack, photo: Path, tmp_path: Path, options: tuple[str, ...], shown: bool
) -> None:
    line = [str(Path(sys.executable).parent / "imgedit"), "edit", str(photo), "-e", "ben2_flux_fill", "-p", "a gym"]
    line += ["--steps", "50", "--strength", "1", "-o", str(tmp_path / "out.png"), *options]
    code, drawn = output_of(line, environment={**os.environ, "IMGEDIT_TARGET": stack.target})
    assert code == 0, drawn
    assert bool(re.search(r"3/4 fill .*step \d+/50", drawn)) == shown
    assert "seed" in drawn


def test_the_command_line_explains_a_refusal(stack: RunningStack, photo: Path) -> None:
    done = command(stack, "edit", str(photo), "-e", "ben2_flux_fill", "-p", "a gym", "--steps", "9")
    assert done.returncode == 1
    assert "--steps: must be 10 to 50, is 9" in done.stderr
    assert "INVALID_ARGUMENT" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_names_a_missing_file_and_a_missing_server(stack: RunningStack, photo: Path) -> None:
    missing = command(stack, "edit", "no-such.png", "-e", "ben2_flux_fill", "-p", "a gym")
    assert missing.returncode == 1
    assert "no-such.png" in missing.stderr
    nobody = command(stack, "edit", str(photo), "-e", "x", "-p", "y", "--target", "127.0.0.1:1", "--timeout", "5")
    assert nobody.returncode == 4
    assert "127.0.0.1:1" in nobody.stderr
    assert "Traceback" not in nobody.stderr


def test_the_command_line_lists_experiments_and_health(stack: RunningStack) -> None:
    listed = command(stack, "experiments")
    assert listed.returncode == 0
    assert "multi_image_editing" in listed.stdout
    assert "--mask-grow" in command(stack, "experiments", "ben2_flux_fill").stdout
    health = command(stack, "health", "--wait", "10")
    assert health.returncode == 0
    assert health.stdout.count("SERVING") == 4
    assert command(stack, "health", "--target", "127.0.0.1:1").returncode == 4


def test_every_service_logs_one_json_object_per_call(stack: RunningStack, client: SyncEditClient, photo: Path) -> None:
    client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10, strength=0.2, request_id="log-me.42")
    for service in ("orchestrator", "segmentation", "fill"):
        lines = [json.loads(line) for line in (stack.logs / f"{service}.log").read_text().splitlines()]
        [line] = [line for line in lines if line["message"] == "rpc" and line["request_id"] == "log-me.42"]
        assert line["code"] == "OK"
        assert line["service"] == service


def test_no_successful_edit_is_counted_as_cancelled(stack: RunningStack, client: SyncEditClient, photo: Path) -> None:
    def cancelled() -> float:
        return sum(
            count
            for service in SERVICES
            for name, count in samples(scrape(stack, service), "imgedit_rpc_duration_seconds_count").items()
            if 'code="CANCELLED"' in name
        )

    before = cancelled()
    for _ in range(5):
        client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10, strength=0.1, preview_every=1)
    assert cancelled() == before
