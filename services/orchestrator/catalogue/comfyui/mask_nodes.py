"""The origin of a mask, and its processing in the order of a chain."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from services.orchestrator.catalogue.comfyui.document import Node, WorkflowError, shown_value
from services.orchestrator.catalogue.comfyui.graph import Graph
from services.orchestrator.catalogue.comfyui.node_kinds import SCALERS, SEGMENTERS
from services.orchestrator.catalogue.experiments import MAX_MASK_PX

SIDES = ("left", "top", "right", "bottom")

NEUTRAL_THRESHOLD = 0.5

MASK_IMAGE = 2
"""The output of a segmenter that is its mask as a picture."""


@dataclass(frozen=True)
class Mask:
    """The mask of a pass.

    source: the node that it comes from. origin: own = the caller sends it; subject = a segmenter finds it; margins =
    padding makes it. reasons: of each option that is not the neutral one, and of the source.
    """

    source: Node
    origin: Literal["own", "subject", "margins"]
    invert: bool = False
    threshold: float = NEUTRAL_THRESHOLD
    grow_px: int = 0
    feather_px: int = 0
    reasons: dict[str, str] = field(default_factory=dict, compare=False)

    def said(self, option: str, why: str) -> dict[str, str]:
        """The reasons with one more for an option."""
        before = self.reasons.get(option)
        return {**self.reasons, option: f"{before}; {why}" if before else why}

    def inverted(self, why: str) -> Mask:
        """White and black swapped; a level is one of the swapped mask then."""
        threshold = self.threshold if self.threshold == NEUTRAL_THRESHOLD else round(1 - self.threshold, 6)
        return replace(self, invert=not self.invert, threshold=threshold, reasons=self.said("invert", why))


def read_mask(graph: Graph, node: Node, name: str) -> Mask:
    """The mask that an input of a node takes.

    Raises `WorkflowError` for a mask that a chain cannot make.
    """
    steps: list[Node] = []
    source, _ = graph.linked(node, name)
    while source.kind in ("GrowMask", "FeatherMask", "InvertMask", "ThresholdMask"):
        steps.append(source)
        source, _ = graph.linked(source, "mask")
    mask = _source(graph, source)
    for step in reversed(steps):
        mask = _worked(graph, mask, step)
    return mask


def _source(graph: Graph, source: Node) -> Mask:
    if source.kind == "LoadImage":
        return _own(
            source, "the mask that is painted into a picture is the caller's mask_image (transparent = repaint)"
        )
    if source.kind == "LoadImageMask":
        return _own(source, _by_channel(graph, source, ("alpha", "red", "green", "blue")))
    if source.kind == "ImageToMask":
        why = _by_channel(graph, source, ("red", "green", "blue"))
        picture, output = graph.linked(source, "image")
        while picture.kind in SCALERS:
            picture, output = graph.linked(picture, "image")
        if picture.kind in SEGMENTERS and output == MASK_IMAGE:
            return of_segmenter(graph, picture)
        if picture.kind != "LoadImage":
            raise graph.refused(source, "image", f"must lead to a LoadImage, leads to {picture}")
        return _own(picture, f"{source}: {why}")
    if source.kind == "ImagePadForOutpaint":
        return Mask(source, "margins", reasons={"source": f"{source}"})
    return of_segmenter(graph, source)


def _own(source: Node, why: str) -> Mask:
    return Mask(source, "own", reasons={"source": f"{source}: {why}"})


def _by_channel(graph: Graph, source: Node, known: tuple[str, ...]) -> str:
    channel = graph.text(source, "channel")
    if channel not in known:
        raise graph.refused(source, "channel", f"must be one of {', '.join(known)}, is {shown_value(channel)}")
    if channel == "alpha":
        return "the caller's mask_image (transparent = repaint)"
    return f"the caller's mask_image (white = repaint, by brightness rather than by {channel} alone)"


def of_segmenter(graph: Graph, source: Node) -> Mask:
    """A segmenter's mask, with what its own inputs do to it."""
    model = source.inputs.get("model")
    is_other = isinstance(model, str) and not model.upper().startswith("BEN")
    finds = f"BEN2 finds the subject{f', instead of {shown_value(model)}' if is_other else ''}"
    mask = Mask(source, "subject", reasons={"source": f"{source}: {finds}"})
    if source.kind not in SEGMENTERS:
        raise WorkflowError(f"{source}: gives a mask that no stage makes")
    if "sensitivity" in source.inputs:
        sensitivity = graph.number(source, "sensitivity", 0, 1)
        if sensitivity < 1:
            level = round(NEUTRAL_THRESHOLD / (2 - sensitivity), 4)
            why = f"{source}: sensitivity {sensitivity:g} multiplies the mask by {2 - sensitivity:g}"
            mask = replace(mask, threshold=level, reasons=mask.said("threshold", why))
    offset = graph.whole(source, "mask_offset", 0, MAX_MASK_PX) if "mask_offset" in source.inputs else 0
    blur = graph.whole(source, "mask_blur", 0, MAX_MASK_PX) if "mask_blur" in source.inputs else 0
    if graph.switch(source, "invert_output"):
        if offset:
            raise graph.refused(
                source, "mask_offset", f"must be 0 with invert_output, is {offset}: it would shrink the mask"
            )
        mask = mask.inverted(f"{source}: invert_output")
    if offset:
        mask = replace(mask, grow_px=offset, reasons=mask.said("grow_px", f"{source}: mask_offset"))
    if blur:
        why = f"{source}: mask_blur; here the edge softens inward alone"
        mask = replace(mask, feather_px=blur, reasons=mask.said("feather_px", why))
    return mask


def _worked(graph: Graph, mask: Mask, step: Node) -> Mask:
    """The mask after another node.

    A chain inverts, levels, grows and feathers, in this order.
    """
    if mask.origin == "margins":
        raise graph.refused(step, "mask", f"works on the margins' mask of {mask.source}; there only feathering is done")
    if mask.feather_px:
        raise graph.refused(step, "mask", "follows a node that softens the mask, which a chain does last")
    if step.kind == "InvertMask":
        if mask.grow_px:
            raise graph.refused(step, "mask", "follows a node that grows the mask; a chain inverts before it grows")
        return mask.inverted(f"{step}")
    if step.kind == "ThresholdMask":
        return _levelled(graph, mask, step)
    if step.kind == "GrowMask":
        grown = graph.whole(step, "expand", 0, MAX_MASK_PX)
        if mask.grow_px + grown > MAX_MASK_PX:
            total = mask.grow_px + grown
            raise graph.refused(step, "expand", f"must be 0 to {MAX_MASK_PX} in all, is {total} with those before it")
        if not grown:
            return mask
        corners = "; here with square corners" if graph.switch(step, "tapered_corners") else ""
        return replace(mask, grow_px=mask.grow_px + grown, reasons=mask.said("grow_px", f"{step}: expand{corners}"))
    return _feathered(graph, mask, step)


def _levelled(graph: Graph, mask: Mask, step: Node) -> Mask:
    level = graph.number(step, "value", 0, 1)
    if not 0 < level < 1:
        raise graph.refused(step, "value", f"must be above 0 and below 1, is {level:g}")
    if "threshold" in mask.reasons:
        return replace(mask, reasons=mask.said("threshold", f"{step} finds nothing left to level"))
    why = f"{step}: value; here the level that becomes one half, and soft edges stay"
    return replace(mask, threshold=level, reasons=mask.said("threshold", why))


def _feathered(graph: Graph, mask: Mask, step: Node) -> Mask:
    lengths = {side: graph.whole(step, side, 0, MAX_MASK_PX) for side in SIDES}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{side} {length}" for side, length in lengths.items())
        raise graph.refused(
            step, "left, top, right, bottom", f"must be one length, 0 to {MAX_MASK_PX}, for all sides, are {listed}"
        )
    if not lengths["left"]:
        return mask
    why = f"{step}; here the mask's own edge softens inward, there the mask at the picture's border"
    return replace(mask, feather_px=lengths["left"], reasons=mask.said("feather_px", why))
