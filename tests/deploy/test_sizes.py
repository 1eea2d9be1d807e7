"""Memory requests, limits and startup probes agree with deploy/sizes.py."""

from __future__ import annotations

import json

import pytest
import torch

from deploy import sizes
from services.common.settings import DiffusionSettings
from services.diffusion.networks import memory_plan
from services.fill import memory_needs as fill
from services.qwen_edit import memory_needs as qwen_edit
from tests.deploy.kubernetes import K8S, Object, of_kind, pod, quantity, render
from tests.deploy.test_kubernetes import rendered_with, settings_in
from tests.support.published import FLUX, PARTS, QWEN
from tests.unit.published.test_published_networks import FLUX_FILES

MODES = {
    "base": lambda: render(K8S / "base"),
    "production": lambda: render(K8S / "overlays/production"),
    "lowvram": lambda: rendered_with("components/lowvram"),
}

CARD = 15 * sizes.GIB
"""Bytes of a 16 GB card that CUDA's context and the driver leave."""

TILE = 1024**2
"""Pixels of the largest tile of both VAEs."""

BLOCKS = {"fill": 19 + 38, "qwen-edit": 60}

REFERENCE_PIXELS = 1024**2

PULL_SECONDS = 300
"""For an image of several GB."""

pytestmark = pytest.mark.slow


@pytest.fixture(params=MODES)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return MODES[request.param]()


def container(objects: list[Object], service: str) -> tuple[Object, Object]:
    """A service's Deployment, and its container."""
    [item] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == f"imgedit-{service}"]
    [found] = pod(item)["spec"]["containers"]
    return item, found


def test_the_table_has_the_parameters_of_the_published_networks() -> None:
    ours = {
        "FLUX transformer": sizes.NETWORKS["fill"]["transformer"],
        "FLUX VAE": sizes.NETWORKS["fill"]["VAE"],
        "CLIP-L": sizes.NETWORKS["fill"]["CLIP-L"],
        "T5-XXL": sizes.NETWORKS["fill"]["T5-XXL"],
        "Qwen transformer": sizes.NETWORKS["qwen-edit"]["transformer"],
        "Qwen VAE": sizes.NETWORKS["qwen-edit"]["VAE"],
        "Qwen2.5-VL-7B": sizes.NETWORKS["qwen-edit"]["Qwen2.5-VL-7B"],
    }
    assert {name: network.parameters for name, network in ours.items()} == {
        name: part.parameters for name, part in PARTS.items()
    }
    assert sum(map(len, sizes.NETWORKS.values())) == len(PARTS) + 1
    assert round(sizes.NETWORKS["segmentation"]["BEN2"].parameters / 1e6, 1) == 94.1


def test_the_table_has_the_vocabularies_and_the_files_of_the_published_models() -> None:
    t5 = json.loads((FLUX / "text_encoder_2/config.json").read_text())
    qwen = json.loads((QWEN / "text_encoder/config.json").read_text())
    assert sizes.NETWORKS["fill"]["T5-XXL"].vocabulary == t5["vocab_size"] * t5["d_model"]
    assert qwen["tie_word_embeddings"] is False  # in and out
    assert sizes.NETWORKS["qwen-edit"]["Qwen2.5-VL-7B"].vocabulary == 2 * qwen["vocab_size"] * qwen["hidden_size"]
    published = {f"flux1-fill-dev-{kind}.gguf": size for kind, (_, size) in FLUX_FILES.items()}
    assert {name: size / 1e9 for name, size in sizes.GGUF_BYTES.items()} == {
        name: published[name] for name in sizes.GGUF_BYTES
    }


@pytest.mark.parametrize("service", sizes.NETWORKS)
def test_a_pod_gets_what_the_table_says_and_not_much_more(service: str, objects: list[Object]) -> None:
    _, found = container(objects, service)
    request = quantity(found["resources"]["requests"]["memory"])
    limit = quantity(found["resources"]["limits"]["memory"])
    assert sizes.request_bytes(service) <= request
    assert sizes.limit_bytes(service) <= limit
    if service != "segmentation":  # its pixels are more than its weights
        assert request <= 1.25 * sizes.request_bytes(service)
        assert limit <= 1.25 * sizes.limit_bytes(service)


@pytest.mark.parametrize("service", ["fill", "qwen-edit"])
def test_a_pod_holds_its_weights_as_its_settings_place_them(service: str, objects: list[Object]) -> None:
    settings = diffusion_settings(objects, service)
    _, found = container(objects, service)
    need = sizes.host_bytes(networks_of(service, settings), settings.offload)
    assert need <= quantity(found["resources"]["limits"]["memory"])


@pytest.mark.parametrize("service", sizes.NETWORKS)
def test_a_pod_may_start_from_the_slowest_volume(service: str, objects: list[Object]) -> None:
    item, found = container(objects, service)
    probe = found["startupProbe"]
    budget = probe["periodSeconds"] * probe["failureThreshold"]
    assert sizes.start_seconds(service) <= budget
    # A rollout is not given up while the old pod still ends, or the new one still pulls or starts.
    needed = pod(item)["spec"]["terminationGracePeriodSeconds"] + PULL_SECONDS + budget
    assert needed <= item["spec"]["progressDeadlineSeconds"]


@pytest.mark.parametrize("service", ["fill", "qwen-edit"])
def test_lowvram_starts_and_edits_on_a_card_of_16_gb(service: str) -> None:
    """Blocks of the transformer come and go; every other network comes whole."""
    settings = diffusion_settings(rendered_with("components/lowvram"), service)
    assert (settings.offload, settings.text_encoder_offload) == ("group", "same")
    assert settings.vae_tiling
    networks = networks_of(service, settings)
    block = networks.pop("transformer") / BLOCKS[service]
    activations = {"fill": fill.ACTIVATIONS, "qwen-edit": qwen_edit.ACTIVATIONS}[service]
    inputs = settings.max_pixels + (qwen_edit.MAX_IMAGES - 1) * REFERENCE_PIXELS if service == "qwen-edit" else 0
    beside = memory_plan.headroom(
        activations,
        answer=min(settings.max_pixels, TILE),
        pictures=settings.max_pixels + inputs,
        jobs=settings.max_batch * (2 if settings.cfg_batch != "off" and service == "qwen-edit" else 1),
        dtype=torch.bfloat16,
        vae_dtype=torch.bfloat16,
    )
    # One block computes, the next is on its way.
    most = memory_plan.WORKSPACE + max(beside.step + 2 * block, beside.decode, *networks.values())
    assert most <= CARD
    assert sum(networks.values()) + BLOCKS[service] * block > CARD  # it would not fit as a whole


def diffusion_settings(objects: list[Object], service: str) -> DiffusionSettings:
    settings = settings_in(objects)[f"imgedit-{service}"]
    assert isinstance(settings, DiffusionSettings)
    return settings


def networks_of(service: str, settings: DiffusionSettings) -> dict[str, int]:
    """Bytes of the networks of a service with these settings."""
    return sizes.weights(
        service,
        gguf=settings.gguf,
        is_stored=settings.weights == "stored",
        int8_text_encoders=settings.text_encoder_weights == "int8",
    )
