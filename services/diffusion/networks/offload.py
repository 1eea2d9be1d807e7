"""Placement of idle networks, and how their weights reach the device.

Weights never change, so the host keeps its copy while another is on the device, and no weights are copied back. A
mapped file stays one, which costs no memory that the system cannot reclaim.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device

Offload = Literal["none", "model", "group", "sequential"]
"""none = all weights stay on the device; model = one network at a time is there; group = the transformer's blocks come
one after another, other networks as a whole; sequential = every layer comes when it runs."""


def place(pipeline: Any, offloads: Mapping[str, Offload], device: torch.device) -> None:
    """Move the pipeline's networks to the device, or hook them to move on use.

    offloads: component name → placement, in order of use.
    """
    staying, taking_turns = [], []
    for name, offload in offloads.items():
        part = getattr(pipeline, name)
        if offload == "none":
            staying.append(part.to(device))
        elif offload == "sequential":
            ComesToRun.attach(part.to("cpu"), device)
        elif offload == "group" and name == "transformer":
            part.enable_group_offload(
                onload_device=device,
                offload_type="block_level",
                num_blocks_per_group=1,
                use_stream=device.type == "cuda",
            )
        else:
            taking_turns.append(part)
    TakesTurns.attach(taking_turns, staying, device)


def nbytes(network: torch.nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


def largest_layer(network: torch.nn.Module) -> int:
    """Bytes of the largest layer's own weights."""
    own = ((*module.parameters(recurse=False), *module.buffers(recurse=False)) for module in network.modules())
    return max(sum(tensor.nbytes for tensor in tensors) for tensors in own)


class SwappedTensors:
    """Tensors of a network on the host, temporarily also on the device."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._tensors = [*tensors]
        self._on_host: list[tuple[torch.Tensor, torch.Tensor]] = []

    def bring(self, device: torch.device) -> None:
        """Copy all of them to the device.

        If there is no room, none stays there and torch's error is raised.
        """
        if self._on_host:
            return
        try:
            for tensor in self._tensors:
                self._on_host.append((tensor, tensor.data))
                tensor.data = tensor.data.to(device)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Drop the device's copies and use the host's again."""
        for tensor, on_host in self._on_host:
            tensor.data = on_host
        self._on_host = []


class ComesToRun(ModelHook):  # type: ignore[misc]
    """Brings one layer's tensors to the device for its forward."""

    def __init__(self, device: torch.device, weights: SwappedTensors) -> None:
        self._device, self._weights = device, weights

    @classmethod
    def attach(cls, network: torch.nn.Module, device: torch.device) -> None:
        """Load each layer of a host network on demand."""
        for module in network.modules():
            tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            if tensors:
                add_hook_to_module(module, cls(device, SwappedTensors(tensors)))

    def pre_forward(self, _module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Move the layer's tensors and inputs to the device before its forward."""
        self._weights.bring(self._device)
        return send_to_device(args, self._device), send_to_device(kwargs, self._device)

    def post_forward(self, _module: Any, output: Any) -> Any:
        """Drop the layer's device tensors after its forward."""
        self._weights.drop()
        return output


class TakesTurns(ModelHook):  # type: ignore[misc]
    """Brings a network to the device on use, replacing the previous one.

    present: the current network, shared by all hooks. weights: its own, None = always resident.
    """

    def __init__(
        self, device: torch.device, present: dict[Any, SwappedTensors], weights: SwappedTensors | None
    ) -> None:
        self._device, self._present, self._weights = device, present, weights

    @classmethod
    def attach(cls, parts: Sequence[Any], staying: Sequence[Any], device: torch.device) -> None:
        """Let `parts` share the device's memory; all of them start on the host.

        A single one leaves the device when a resident network runs.
        """
        present: dict[Any, SwappedTensors] = {}
        for part in parts:
            part.to("cpu")
            add_hook_to_module(part, cls(device, present, SwappedTensors([*part.parameters(), *part.buffers()])))
        if len(parts) == 1:
            for part in staying:
                add_hook_to_module(part, cls(device, present, None))

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Swap networks and move the inputs, before the forward.

        Also before a VAE's encode and decode.
        """
        if module not in self._present:
            while self._present:
                self._present.popitem()[1].drop()
            if self._weights is not None:
                self._weights.bring(self._device)
                self._present[module] = self._weights
        return send_to_device(args, self._device), send_to_device(kwargs, self._device)
