"""Plan an experiment from a graph: stages, their order and defaults."""

from __future__ import annotations

from collections.abc import Iterator

from services.common import texts
from services.orchestrator.catalogue.comfyui import masks, options
from services.orchestrator.catalogue.comfyui.document import Node, WorkflowError, shown
from services.orchestrator.catalogue.comfyui.graph import Graph
from services.orchestrator.catalogue.comfyui.kinds import SEGMENTERS
from services.orchestrator.catalogue.comfyui.masks import Mask
from services.orchestrator.catalogue.comfyui.painting import (
    MAX_REFERENCES,
    MEGAPIXEL,
    Painting,
    Reader,
    seen_by,
)
from services.orchestrator.catalogue.comfyui.pictures import Picture
from services.orchestrator.catalogue.comfyui.plan import (
    Choice,
    ModelPlan,
    Plan,
    Setting,
    StagePlan,
)
from services.orchestrator.catalogue.models import MAX_MARGIN_PX, MAX_MASK_PX

DEFAULT_WORK_PIXELS = MEGAPIXEL
DEFAULT_MODEL_PIXELS = 2 * MEGAPIXEL

NAMES = {
    "inpainting": "영역 채우기",
    "outpainting": "이미지 확장",
    "appearance_editing": "외관 편집",
    "semantic_editing": "의미론적 편집",
    "multi_image_editing": "다중 이미지 편집",
    "cut_out": "배경 제거",
}
"""Of features, as in the shipped catalogue."""

MAX_LEFT_OUT = 20


def plan(graph: Graph, end: Node) -> Plan:
    """The experiment of a workflow.

    Raises `WorkflowError` for a workflow that no chain can do.
    """
    graph.check(end)
    source, output = graph.linked(end, "images")
    if source.kind in SEGMENTERS and output == 0:
        return _Builder(graph, end).cut_out(source)
    return _Builder(graph, end).painted()


class _Builder:
    """Collects the parts of one plan."""

    def __init__(self, graph: Graph, end: Node) -> None:
        self._graph = graph
        self._end = end
        self._reader = Reader(graph)
        self._notes: list[str] = []

    def cut_out(self, segmenter: Node) -> Plan:
        """A workflow that paints nothing."""
        self._check_ground(segmenter, "Alpha")
        picture = self._reader.picture(segmenter, seen_by(segmenter))
        self._check_seen(segmenter, picture, picture.load)
        mask = masks.of_segmenter(self._graph, segmenter)
        stages = [StagePlan("segment", f"{segmenter}: BEN2 finds the subject; the answer is transparent around it")]
        if mask != Mask(segmenter, "subject"):
            stages.append(StagePlan("mask", f"{segmenter}: what stays", options.mask_options(mask)))
        return Plan(
            models=(ModelPlan("BEN2", f"{segmenter}"),),
            feature_id="cut_out",
            feature_name=NAMES["cut_out"],
            requires_mask=Choice(value=False, why="BEN2 finds the subject"),
            stages=tuple(stages),
            notes=tuple(self._left_out()),
        )

    def painted(self) -> Plan:
        """A workflow with one sampler or several, each on the result of the one before."""
        graph, result = self._graph, self._reader.picture(self._end, "images")
        if not result.passes:
            raise graph.refused(self._end, "images", f"must be a picture that a sampler painted, is {result}")
        passes = result.passes
        self._check_result(result)
        for painting in passes:
            self._check_mask(painting)
        self._check_together(passes)
        stages = [*self._segment(passes)]
        for painting in passes:
            stages += self._pass(painting, is_last=painting is passes[-1])
        last = passes[-1]
        own = any(painting.mask and painting.mask.origin == "own" for painting in passes)
        feature = options.feature_of(passes)
        return Plan(
            models=tuple(self._models(passes, has_segment=stages[0].kind == "segment")),
            feature_id=feature,
            feature_name=NAMES[feature],
            requires_mask=options.requires_mask(passes, own=own),
            stages=tuple(stages),
            parameters=options.parameters(last),
            defaults=self._defaults(passes),
            settings=self._all_settings(passes),
            notes=(*self._notes, *self._left_out()),
        )

    def _check_result(self, result: Picture) -> None:
        """Check that the result has the picture's own size.

        Scaling back to it is left out; any other scaling is rejected.
        """
        for scale in result.scales:
            if scale.kind == "ImageScaleBy" or not any(painting.base.scales for painting in result.passes):
                raise self._graph.refused(
                    scale, "image", "must not be the result: an answer has the size of the caller's picture"
                )
            self._notes.append(f"{scale} is left out: an answer has the size of the caller's picture")

    def _check_mask(self, painting: Painting) -> None:
        """A mask and the picture that is painted belong together."""
        graph, base, mask = self._graph, painting.base, painting.mask
        if (mask is not None and mask.origin == "margins") != (base.pad is not None) or (
            mask is not None and base.pad is not None and mask.source.id != base.pad.id
        ):
            where = base.pad or (mask.source if mask else painting.sampler)
            raise WorkflowError(
                f"{where}: picture and mask of {painting.sampler} must both be of one ImagePadForOutpaint, whose "
                "margins alone are painted then"
            )
        if mask is not None and mask.origin == "subject":
            self._check_seen(mask.source, self._reader.picture(mask.source, seen_by(mask.source)), base.load)
        if base.cutout is None:
            return
        if painting.painter == "fill":
            is_around = mask is not None and mask.source.id == base.cutout.id and mask.invert
            if not is_around:
                raise graph.refused(
                    base.cutout, "image", "its cut-out can only be painted around: mask it by its own mask, inverted"
                )
            self._notes.append(f"{base.cutout}: the picture itself is painted around the subject, not the cut-out")
            return
        if mask is not None:
            raise graph.refused(base.cutout, "image", "its cut-out is edited as a whole; leave the mask out")
        self._check_ground(base.cutout, "Alpha", "white", "#ffffff")

    def _check_seen(self, segmenter: Node, seen: Picture, load: Node) -> None:
        if seen.passes or seen.pad or seen.cutout or seen.load.id != load.id:
            raise self._graph.refused(
                segmenter, seen_by(segmenter), f"must be the caller's picture, of {load}, is {seen}"
            )

    def _check_ground(self, segmenter: Node, *known: str) -> None:
        """A cut-out is transparent, or on white where a model is given it."""
        ground = self._graph.text(segmenter, "background") if "background" in segmenter.inputs else "Alpha"
        colour = ground
        if ground == "Color" and "background_color" in segmenter.inputs:
            colour = self._graph.text(segmenter, "background_color")
        if colour.lower() not in [name.lower() for name in known]:
            field = "background_color" if ground == "Color" else "background"
            names = " or ".join(shown(name) for name in known)
            raise self._graph.refused(segmenter, field, f"must be {names}, is {shown(colour)}")

    def _check_together(self, passes: tuple[Painting, ...]) -> None:
        """A request has one picture, one mask and one profile for all passes."""
        masked = [painting.mask for painting in passes if painting.mask and painting.mask.origin != "margins"]
        if len({mask.origin for mask in masked}) > 1:
            raise WorkflowError(
                f"{masked[0].source} and {masked[1].source}: a request has one mask for all passes: the caller's or "
                "BEN2's"
            )
        sources = {mask.source.id: mask.source for mask in masked if mask.origin == "own"}
        if len(sources) > 1:
            names = " and ".join(map(str, sources.values()))
            raise WorkflowError(f"{names}: a request has one mask_image for all passes")
        with_lora = [painting for painting in passes if painting.network.lora]
        if with_lora and len(with_lora) < len(passes):
            raise WorkflowError(
                f"{with_lora[0].sampler}: runs with a LoRA and another pass without one; a request has one profile for "
                "all passes"
            )

    def _segment(self, passes: tuple[Painting, ...]) -> Iterator[StagePlan]:
        """The stage for the subject, where a mask, a cut-out or a saved picture needs it."""
        for painting in passes:
            if painting.mask is not None and painting.mask.origin == "subject":
                yield StagePlan("segment", painting.mask.reasons["source"])
                return
            if painting.base.cutout is not None:
                yield StagePlan("segment", f"{painting.base.cutout}: BEN2 finds the subject")
                return
        if any(painting.mask and painting.mask.origin == "own" for painting in passes):
            return  # a segment stage would let BEN2's mask replace a mask that the caller forgot
        for end in self._graph.side_ends(self._end):
            found = end.kind == "SaveImage" and self._saved_segmenter(end, passes[0].base.load)
            if found:
                yield StagePlan(
                    "segment", f"{end} saves the cut-out of {found}: background_removed_image of the answer"
                )
                return

    def _saved_segmenter(self, end: Node, load: Node) -> Node | None:
        """The segmenter whose cut-out of the caller's picture a node saves."""
        try:
            source, output = self._graph.linked(end, "images")
            if source.kind not in SEGMENTERS or output != 0:
                return None
            self._graph.check(end)
            self._check_seen(source, self._reader.picture(source, seen_by(source)), load)
        except WorkflowError:
            return None
        return source

    def _pass(self, painting: Painting, *, is_last: bool) -> Iterator[StagePlan]:
        """The stages of one pass."""
        base, mask, sampler = painting.base, painting.mask, painting.sampler
        self._note(painting)
        if base.pad is not None:
            yield self._extend(base.pad)
        elif mask is not None:
            yield StagePlan("mask", mask.reasons["source"], options.mask_options(mask))
        elif base.cutout is not None:
            cut = masks.of_segmenter(self._graph, base.cutout)
            kept = {
                name: choice for name, choice in options.mask_options(cut).items() if name in ("choose", "threshold")
            }
            yield StagePlan("mask", f"{base.cutout}: what is cut out", kept)
        yield StagePlan(
            painting.painter,
            f"{sampler} with {painting.network.plan.model_id}",
            options.paint_options(painting, is_last=is_last),
        )
        if painting.composite is not None:
            yield StagePlan("composite", f"{painting.composite}: kept pixels are put back by the mask")
        elif mask is not None:
            yield StagePlan(
                "composite", "added: outside the mask the picture keeps its own pixels, which a VAE changes"
            )
        else:
            yield StagePlan(
                "composite", "added: every pass ends with it; without a mask the whole picture is the model's"
            )

    def _extend(self, pad: Node) -> StagePlan:
        graph = self._graph
        margins = {side: graph.whole(pad, side, 0, MAX_MARGIN_PX) for side in ("left", "right", "top", "bottom")}
        if not any(margins.values()):
            raise graph.refused(
                pad, "left, top, right, bottom", f"must be 0 to {MAX_MARGIN_PX}, one of them above 0, are 0"
            )
        found = {side: Choice(length, f"{pad}: {side}") for side, length in margins.items() if length}
        feather = graph.whole(pad, "feathering", 0, MAX_MASK_PX)
        why = f"{pad}: feathering; here it lies in the margins, so the picture keeps all its pixels"
        found["feather_px"] = Choice(feather, why)
        return StagePlan("extend", f"{pad}: margins where a request names none", found)

    def _note(self, painting: Painting) -> None:
        self._notes += [*painting.notes, *painting.numbers.notes, *painting.network.notes]
        for scale in painting.base.scales:
            self._notes.append(f"{scale}: a chain scales by itself, without stretching, to the work area and back")
        if len(painting.references) > MAX_REFERENCES:
            raise WorkflowError(f"{painting.sampler}: must have at most {MAX_REFERENCES} reference pictures")

    def _models(self, passes: tuple[Painting, ...], *, has_segment: bool) -> Iterator[ModelPlan]:
        if has_segment:
            yield ModelPlan("BEN2", "finds the subject")
        seen = set()
        for painting in passes:
            found = painting.network.plan
            if found.model_id not in seen:
                seen.add(found.model_id)
                yield found

    def _defaults(self, passes: tuple[Painting, ...]) -> dict[str, Choice]:
        last, found = passes[-1], {}
        if texts.comparable(last.prompt.value).strip():
            found["prompt"] = last.prompt
        else:
            self._notes.append(f"{last.prompt.why} is empty, so every request brings a prompt")
        if last.painter == "fill" and last.negative is not None:
            found["negative_prompt"] = last.negative
        found["seed"] = last.numbers.seed
        seeds = {painting.numbers.seed.value for painting in passes}
        if len(seeds) > 1:
            self._notes.append(f"{last.sampler}: all passes of an edit have its seed")
        if last.network.lora is not None:
            found["profile"] = last.network.lora
            self._notes.append(
                "profiles balanced and high run without the LoRA, on the same defaults: raise --steps with them"
            )
        return found

    def _all_settings(self, passes: tuple[Painting, ...]) -> tuple[Setting, ...]:
        found = {setting.variable: setting for painting in passes for setting in painting.network.settings}
        for painting in passes:
            for setting in painting.network.settings:
                if found[setting.variable].value != setting.value:
                    raise WorkflowError(
                        f"{setting.why}: must be the same file for all passes, since a service loads one, is "
                        f"{shown(setting.value)} beside {shown(found[setting.variable].value)}"
                    )
            found |= {setting.variable: setting for setting in self._work_pixels(painting)}
        return tuple(found.values())

    def _work_pixels(self, painting: Painting) -> Iterator[Setting]:
        """Settings for a picture that is sampled at another size than a service's own."""
        if not painting.base.scales:
            return
        graph, scale = self._graph, painting.base.scales[-1]
        pixels = DEFAULT_WORK_PIXELS
        if scale.kind == "ImageScaleToTotalPixels":
            pixels = round(graph.number(scale, "megapixels", 0.01, 16) * MEGAPIXEL)
        elif scale.kind == "ImageScale":
            width, height = (graph.whole(scale, side, 0, 16_384) for side in ("width", "height"))
            pixels = width * height or DEFAULT_WORK_PIXELS
        if pixels == DEFAULT_WORK_PIXELS:
            return
        yield Setting("IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS", str(max(pixels, 4096)), f"{scale}: pixels")
        if pixels > DEFAULT_MODEL_PIXELS:
            yield Setting(f"IMGEDIT_{painting.painter.upper()}_MAX_PIXELS", str(pixels), f"{scale}: pixels")

    def _left_out(self) -> Iterator[str]:
        """Notes of parts without effect on the result: unknown inputs and unused nodes."""
        yield from self._graph.strange_inputs(self._end)
        used = {node.id for node in self._graph.behind(self._end)}
        others = [node for node in self._graph.nodes if node.id not in used]
        for node in others[:MAX_LEFT_OUT]:
            yield f"{node} is left out: the saved picture does not depend on it"
        if len(others) > MAX_LEFT_OUT:
            yield f"and {len(others) - MAX_LEFT_OUT} more nodes, on which the saved picture does not depend"
