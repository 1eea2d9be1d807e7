"""With OFFLOAD=group the host holds the transformer twice for a while.

The pods' limits have room for that.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel

from deploy.sizes import PROCESS
from imgedit.local import malloc

BASE = Path(__file__).parents[2] / "deploy/k8s/base"
NETWORKS = {
    "fill": (FluxTransformer2DModel, {"in_channels": 384, "out_channels": 64, "guidance_embeds": True}),
    "qwen-edit": (QwenImageTransformer2DModel, {}),
}


def limit(service: str) -> int:
    objects = [item for item in yaml.safe_load_all((BASE / f"{service}.yaml").read_text()) if item]
    [deployment] = [item for item in objects if item["kind"] == "Deployment"]
    text: str = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    return int(text.removesuffix("Gi")) * 1024**3


def locked(sizes: list[int], round_up_to: float) -> int:
    """Page-locked bytes of tensors of these sizes.

    Torch rounds each up to a power of two, up to this size.
    """
    return sum(1 << (size - 1).bit_length() if size <= round_up_to else size for size in sizes)


@pytest.mark.parametrize("service", NETWORKS)
def test_a_pod_has_room_for_dequantised_and_for_page_locked_weights(service: str) -> None:
    cls, options = NETWORKS[service]
    with torch.device("meta"):
        network: Any = cls(**options)
    sizes = [2 * parameter.numel() for parameter in network.parameters()]
    name, _, value = malloc.SERVICE["PYTORCH_ALLOC_CONF"].partition(":")
    assert name == "pinned_max_round_threshold_mb"
    page_locked = locked(sizes, int(value) * 1024**2)
    assert page_locked < 1.01 * sum(sizes)
    assert locked(sizes, float("inf")) > 1.5 * sum(sizes)  # torch's default
    assert sum(sizes) + page_locked + PROCESS < limit(service)
