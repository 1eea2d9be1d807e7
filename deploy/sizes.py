"""`python -m deploy.sizes`: memory and start time of the published models.

Computed from the parameters of the published networks. The tests hold the manifests' memory requests, memory
limits and startup probes to it, and the parameters to the networks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GB = 10**9
GIB = 1024**3

PROCESS = 4 * GB
"""Bytes of torch, CUDA's libraries, and the pictures of the jobs that wait."""

SLOWEST_VOLUME = 50 * 10**6
"""Bytes per second that a volume reads, for which a start still has time."""

WARM_UP_SECONDS = 30
"""The imports, and one small forward."""


@dataclass(frozen=True)
class Network:
    """A published network.

    vocabulary: parameters of its word tables, which int8 leaves as they are.
    """

    parameters: int
    vocabulary: int = 0
    is_text_encoder: bool = False
    number_bytes: int = 2

    @property
    def dense(self) -> int:
        """Bytes in the number format of the published file."""
        return self.number_bytes * self.parameters

    @property
    def int8(self) -> int:
        """Bytes with one byte for each weight outside the vocabulary."""
        return self.parameters + self.vocabulary


NETWORKS: Mapping[str, Mapping[str, Network]] = {
    "segmentation": {"BEN2": Network(94_134_658, number_bytes=4)},
    "fill": {
        "transformer": Network(11_902_391_360),
        "T5-XXL": Network(4_762_310_656, 32_128 * 4096, is_text_encoder=True),
        "CLIP-L": Network(123_060_480, is_text_encoder=True),
        "VAE": Network(83_819_683),
    },
    "qwen-edit": {
        "transformer": Network(20_430_401_088),
        "Qwen2.5-VL-7B": Network(8_292_166_656, 2 * 152_064 * 3584, is_text_encoder=True),
        "VAE": Network(126_892_531),
    },
}
"""By service and name."""

GGUF_BYTES = {"flux1-fill-dev-Q8_0.gguf": 12.7 * GB, "flux1-fill-dev-Q4_K_S.gguf": 6.81 * GB}
"""The files that the overlays name."""

OFFLOADS = ("none", "model", "group", "sequential")


def weights(
    service: str, *, gguf: str = "", is_stored: bool = False, int8_text_encoders: bool = False
) -> dict[str, int]:
    """Bytes of each network of a service once it is read.

    gguf: file of the transformer. is_stored: its number format is kept.
    """
    found = {}
    for name, network in NETWORKS[service].items():
        found[name] = network.int8 if int8_text_encoders and network.is_text_encoder else network.dense
        if name == "transformer" and gguf and is_stored:
            found[name] = int(GGUF_BYTES[gguf])
    return found


def host_bytes(networks: Mapping[str, int], offload: str) -> int:
    """Peak bytes on the host with this `OFFLOAD`.

    none: each tensor moves to the device before the next is read. group: the transformer is there twice while it
    becomes page-locked.
    """
    if offload == "none":
        return PROCESS
    twice = networks["transformer"] if offload == "group" else 0
    return sum(networks.values()) + twice + PROCESS


def request_bytes(service: str) -> int:
    """Memory request: one copy of the weights, so that a start reads each byte once."""
    return sum(network.dense for network in NETWORKS[service].values())


def limit_bytes(service: str) -> int:
    """Memory limit: the peak of the hungriest `OFFLOAD`, which is only a setting."""
    networks = weights(service)
    if "transformer" not in networks:
        return sum(networks.values()) + PROCESS
    return max(host_bytes(networks, offload) for offload in OFFLOADS)


def start_seconds(service: str) -> float:
    """The longest good start: every byte read from the slowest volume."""
    return request_bytes(service) / SLOWEST_VOLUME + WARM_UP_SECONDS


def main() -> None:
    """Print the table."""
    print(f"{'service':14}{'request':>12}{'limit':>12}{'start':>10}")
    for service in NETWORKS:
        request, limit = request_bytes(service) / GIB, limit_bytes(service) / GIB
        print(f"{service:14}{request:8.1f} GiB{limit:8.1f} GiB{start_seconds(service):8.0f} s")


if __name__ == "__main__":
    main()
