"""Read one pass over a picture backwards: sampler, mask, prompts, model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.orchestrator.catalogue.comfyui import mask_nodes, sampling
from services.orchestrator.catalogue.comfyui.document import Node, WorkflowError, shown_value
from services.orchestrator.catalogue.comfyui.graph import Graph
from services.orchestrator.catalogue.comfyui.image_nodes import ImagePath
from services.orchestrator.catalogue.comfyui.mask_nodes import Mask
from services.orchestrator.catalogue.comfyui.node_kinds import SAMPLERS, SCALERS, SEGMENTERS
from services.orchestrator.catalogue.comfyui.plan import Choice
from services.orchestrator.catalogue.comfyui.sampling import Conditioning, Network, Numbers, PaintKind

MAX_PASSES = 4
"""Passes over one picture; a workflow of more is refused before it is read to its beginning."""

MAX_REFERENCES = 2

MEGAPIXEL = 1024 * 1024
MAX_SIDE = 16_384


@dataclass(frozen=True)
class PaintPass:
    """One pass.

    base: the picture to paint over. mask: None = everywhere. composite: the node that restores kept pixels. negative:
    the text to avoid; None = none. references: further pictures that the prompt mentions.
    """

    stage_kind: PaintKind
    sampler: Node
    base: ImagePath
    mask: Mask | None
    numbers: Numbers
    network: Network
    prompt: Choice
    guidance: Choice
    negative: Choice | None
    references: tuple[Node, ...] = ()
    composite: Node | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class _Latents:
    """The input of a sampler. inpaint: the node that made it, if it also conditions."""

    base: ImagePath
    mask: Mask | None
    inpaint: Node | None


class Reader:
    """Reads pictures and passes of a graph, each once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[tuple[str, int], ImagePath] = {}
        self._depth = 0

    def picture(self, user: Node, name: str) -> ImagePath:
        """The picture that an input takes.

        Raises `WorkflowError` for a picture that no chain makes.
        """
        node, output = self._graph.linked(user, name)
        key = (node.id, output)
        if key not in self._known:
            self._known[key] = self._read(node, output)
        return self._known[key]

    def _read(self, node: Node, output: int) -> ImagePath:
        """A picture from its last step back to its beginning, then forward."""
        steps: list[Node] = []
        while node.kind in SCALERS or node.kind == "ImagePadForOutpaint" or (node.kind in SEGMENTERS and output == 0):
            steps.append(node)
            node, output = self._graph.linked(node, seen_by(node) if node.kind in SEGMENTERS else "image")
        if node.kind == "LoadImage":
            picture = ImagePath(node)
        elif node.kind == "VAEDecode":
            picture = self._painted(node, composite=None, mask=None)
        elif node.kind == "ImageCompositeMasked":
            picture = self._composited(node)
        else:
            raise WorkflowError(f"{node}: output {output}: gives a picture that no stage makes")
        for step in reversed(steps):
            picture = self._stepped(picture, step)
        return picture

    def _stepped(self, picture: ImagePath, step: Node) -> ImagePath:
        if step.kind in SCALERS:
            check_scale(self._graph, step)
            return replace(picture, scales=(*picture.scales, step))
        if step.kind == "ImagePadForOutpaint":
            if picture.pad or picture.passes or picture.cutout:
                raise self._graph.refused(
                    step, "image", f"must be the caller's picture, is {picture}: a chain extends first"
                )
            return replace(picture, pad=step)
        if picture.pad or picture.passes or picture.cutout:
            raise self._graph.refused(
                step, seen_by(step), f"must be the caller's picture, in which BEN2 looks for the subject, is {picture}"
            )
        if self._graph.switch(step, "invert_output"):
            raise self._graph.refused(
                step, "invert_output", "must be false where its picture is used; the subject is cut out"
            )
        return replace(picture, cutout=step)

    def _composited(self, node: Node) -> ImagePath:
        """A painted picture laid over its original, or the original over it."""
        graph = self._graph
        for name in ("x", "y"):
            graph.whole(node, name, 0, 0)
        painted_side, base_side, is_swapped = "source", "destination", False
        origins = {side: self._base_kind(node, side) for side in ("source", "destination")}
        if origins["source"] != "painted" and origins["destination"] == "painted":
            painted_side, base_side, is_swapped = "destination", "source", True
        if origins[painted_side] != "painted":
            raise graph.refused(node, "source", "must be a picture that a sampler painted; nothing here is painted")
        if graph.source(node, "mask") is None:
            raise graph.refused(
                node, "mask", "is missing; without one the whole picture is replaced, and nothing is kept"
            )
        mask = mask_nodes.read_mask(graph, node, "mask")
        if is_swapped:
            if mask.grow_px or mask.feather_px:
                raise graph.refused(node, "mask", "must not be grown or softened where the kept picture is laid on top")
            mask = mask.inverted(f"{node}: the kept picture is laid on top")
        decoded, _ = graph.linked(node, painted_side)
        while decoded.kind in SCALERS:  # back to the size of the picture
            check_scale(graph, decoded)
            decoded, _ = graph.linked(decoded, "image")
        if decoded.kind != "VAEDecode":
            raise graph.refused(node, painted_side, f"must be a VAEDecode's picture, is of {decoded}")
        picture = self._painted(decoded, composite=node, mask=mask)
        base = self.picture(node, base_side)
        if not picture.passes[-1].base.is_same(base):
            raise graph.refused(
                node, base_side, f"must be the picture that was painted over, {picture.passes[-1].base}, is {base}"
            )
        return picture

    def _base_kind(self, node: Node, side: str) -> str:
        found, _ = self._graph.linked(node, side)
        while found.kind in SCALERS:
            found, _ = self._graph.linked(found, "image")
        return "painted" if found.kind == "VAEDecode" else "other"

    def _painted(self, decode: Node, *, composite: Node | None, mask: Mask | None) -> ImagePath:
        """The picture of a VAEDecode. mask: the one that restores kept pixels."""
        self._depth += 1
        if self._depth > MAX_PASSES:
            raise WorkflowError(f"{decode}: a chain has at most {MAX_PASSES} passes over a picture")
        sampler, output = self._graph.linked(decode, "samples")
        if sampler.kind not in SAMPLERS:
            raise self._graph.refused(decode, "samples", f"must be a sampler's, is output {output} of {sampler}")
        paint_pass = self._paint_pass(sampler, composite, mask)
        base = paint_pass.base
        return ImagePath(base.load, (*base.passes, paint_pass))

    def _paint_pass(self, sampler: Node, composite: Node | None, kept_by: Mask | None) -> PaintPass:
        graph = self._graph
        numbers = sampling.numbers(graph, sampler)
        positive = sampling.conditioning(graph, sampler, "positive")
        latents = self._latents(sampler, "latent_image")
        encoder = positive.encoder
        if encoder is None:
            raise graph.refused(sampler, "positive", "must lead to a prompt, is zeroed out")
        stage_kind: PaintKind = "fill" if encoder.kind == "CLIPTextEncode" else "qwen_edit"
        network = sampling.network(graph, sampler, stage_kind)
        mask = self._one_mask(latents.mask, kept_by, composite)
        paint_pass = PaintPass(
            stage_kind,
            sampler,
            latents.base,
            mask,
            numbers,
            network,
            sampling.prompt(graph, encoder),
            positive.guidance or Choice(sampling.FLUX_GUIDANCE, "no FluxGuidance is there; this is FLUX's own"),
            None,
            composite=composite,
            notes=tuple(note for note in [sampling.check_clip(graph, encoder, stage_kind)] if note),
        )
        if stage_kind == "fill":
            return self._fill(paint_pass, positive, latents)
        return self._qwen(paint_pass, positive, encoder)

    def _one_mask(self, painted: Mask | None, kept_by: Mask | None, composite: Node | None) -> Mask | None:
        """The mask of a pass: a chain paints and puts back by the same one."""
        if painted is None or kept_by is None or composite is None:
            return painted or kept_by
        if painted != kept_by:
            raise self._graph.refused(
                composite, "mask", "must be the mask that is painted by: a chain paints and puts back by one mask"
            )
        return painted

    def _latents(self, user: Node, name: str) -> _Latents:
        graph = self._graph
        node, output = graph.linked(user, name)
        if node.kind == "InpaintModelConditioning":
            return _Latents(self.picture(node, "pixels"), mask_nodes.read_mask(graph, node, "mask"), node)
        if node.kind == "VAEEncode":
            return _Latents(self.picture(node, "pixels"), None, None)
        if node.kind == "SetLatentNoiseMask":
            inner, _ = graph.linked(node, "samples")
            if inner.kind != "VAEEncode":
                raise graph.refused(node, "samples", f"must be a VAEEncode's, is of {inner}")
            return _Latents(self.picture(inner, "pixels"), mask_nodes.read_mask(graph, node, "mask"), None)
        raise graph.refused(
            user, name, f"must be a picture's latents, is output {output} of {node}: a chain samples once"
        )

    def _fill(self, paint_pass: PaintPass, positive: Conditioning, latents: _Latents) -> PaintPass:
        graph, sampler = self._graph, paint_pass.sampler
        if positive.inpaint is None:
            raise graph.refused(
                sampler, "positive", "must pass an InpaintModelConditioning, through which FLUX.1-Fill sees"
            )
        if latents.inpaint is not positive.inpaint:
            raise graph.refused(sampler, "latent_image", f"must be output 2 of {positive.inpaint}, as the prompt's")
        cfg = paint_pass.numbers.cfg
        if cfg.value == 1:
            return replace(paint_pass, notes=(*paint_pass.notes, *self._unused_negative(sampler)))
        if not 1 < cfg.value <= sampling.MAX_NEGATIVE_SCALE:
            raise graph.refused(sampler, "cfg", f"must be 1 to {sampling.MAX_NEGATIVE_SCALE}, is {cfg.value:g}")
        return replace(paint_pass, negative=self._negative(paint_pass)[0])

    def _unused_negative(self, sampler: Node) -> list[str]:
        """A note on a text to be avoided that a cfg of 1 leaves without effect."""
        found = sampling.conditioning(self._graph, sampler, "negative").encoder
        positive = sampling.conditioning(self._graph, sampler, "positive").encoder
        if found is None or found is positive:
            return []
        text = sampling.prompt(self._graph, found).value
        if not text:
            return []
        return [
            f"{found}: the negative prompt {shown_value(text)} is left out, since ComfyUI does not look at it at cfg 1"
        ]

    def _negative(self, paint_pass: PaintPass) -> tuple[Choice, Node]:
        graph, sampler = self._graph, paint_pass.sampler
        found = sampling.conditioning(graph, sampler, "negative").encoder
        if found is None:
            raise graph.refused(
                sampler,
                "negative",
                f"must lead to a prompt at a cfg above 1, is zeroed out at cfg {paint_pass.numbers.cfg.value:g}",
            )
        return sampling.prompt(graph, found), found

    def _qwen(self, paint_pass: PaintPass, positive: Conditioning, encoder: Node) -> PaintPass:
        graph, sampler, cfg = self._graph, paint_pass.sampler, paint_pass.numbers.cfg
        notes = list(paint_pass.notes)
        if positive.guidance is not None:
            notes.append(f"{positive.guidance.why} is left out: Qwen-Image-Edit has none")
        if not 1 <= cfg.value <= sampling.MAX_GUIDANCE["qwen_edit"]:
            limit = sampling.MAX_GUIDANCE["qwen_edit"]
            raise graph.refused(sampler, "cfg", f"must be 1 to {limit:g}, is {cfg.value:g}")
        negative = None
        zeroed = sampling.conditioning(graph, sampler, "negative").encoder is None
        if cfg.value > 1 or not zeroed:
            negative, node = self._negative(paint_pass)
            if cfg.value > 1 and self._pictures_of(node) != self._pictures_of(encoder):
                notes.append(f"{node}: here the negative prompt is read beside the pictures, as the prompt is")
        references = self._references(paint_pass.base, encoder)
        return replace(paint_pass, guidance=cfg, negative=negative, references=references, notes=tuple(notes))

    def _pictures_of(self, encoder: Node) -> list[str]:
        """The pictures that a prompt is read beside."""
        named = [self._graph.source(encoder, name) for name in ("image", "image1", "image2", "image3")]
        return [f"{found[0].id} {found[1]}" for found in named if found is not None]

    def _references(self, base: ImagePath, encoder: Node) -> tuple[Node, ...]:
        """The further pictures of a prompt. The first is the one that is edited."""
        graph = self._graph
        if graph.source(encoder, "vae") is None:
            raise graph.refused(encoder, "vae", "is missing; without it the model sees no pixels of the picture")
        first, *further = ["image"] if encoder.kind == "TextEncodeQwenImageEdit" else ["image1", "image2", "image3"]
        if graph.source(encoder, first) is None:
            raise graph.refused(
                encoder, first, "is missing; it must be the picture that is edited, Picture 1 of the prompt"
            )
        shown_first = self.picture(encoder, first)
        if not shown_first.is_same(base):
            raise graph.refused(encoder, first, f"must be the picture that is edited, {base}, is {shown_first}")
        given = [name for name in further if graph.source(encoder, name) is not None]
        if given != further[: len(given)]:
            raise graph.refused(
                encoder, "image2", "is missing though image3 is there; the pictures are numbered in order"
            )
        return tuple(self._reference(encoder, name) for name in given)

    def _reference(self, encoder: Node, name: str) -> Node:
        picture = self.picture(encoder, name)
        if picture.passes or picture.pad or picture.cutout:
            raise self._graph.refused(encoder, name, f"must be a picture as the caller sends it, is {picture}")
        return picture.load


def seen_by(segmenter: Node) -> str:
    """The input of a segmenter that takes the picture."""
    return "input_image" if segmenter.kind == "BackgroundEraseNetwork" else "image"


def check_scale(graph: Graph, node: Node) -> None:
    """Reject a scaling that a chain cannot undo: a crop, or one to no size."""
    if node.kind == "ImageScale":
        if "crop" in node.inputs and (crop := graph.text(node, "crop")) != "disabled":
            raise graph.refused(
                node, "crop", f'must be "disabled", since a chain keeps the whole picture, is {shown_value(crop)}'
            )
        graph.whole(node, "width", 0, MAX_SIDE)
        graph.whole(node, "height", 0, MAX_SIDE)
    elif node.kind == "ImageScaleBy":
        graph.number(node, "scale_by", 0.01, 8)
    elif node.kind == "ImageScaleToTotalPixels":
        graph.number(node, "megapixels", 0.01, 16)
    elif node.kind == "ImageScaleToMaxDimension":
        graph.whole(node, "largest_size", 1, MAX_SIDE)
