"""Plan an experiment from a graph: stages, their order and defaults."""

from __future__ import annotations

from collections.abc import Iterator

from services.common import texts
from services.orchestrator.catalogue.comfyui import feature_options, mask_nodes
from services.orchestrator.catalogue.comfyui.document import Node, WorkflowError, shown_value
from services.orchestrator.catalogue.comfyui.graph import Graph
from services.orchestrator.catalogue.comfyui.image_nodes import ImagePath
from services.orchestrator.catalogue.comfyui.mask_nodes import Mask
from services.orchestrator.catalogue.comfyui.node_kinds import SEGMENTERS
from services.orchestrator.catalogue.comfyui.paint_passes import (
    MAX_REFERENCES,
    MEGAPIXEL,
    PaintPass,
    Reader,
    seen_by,
)
from services.orchestrator.catalogue.comfyui.plan import (
    Choice,
    ExperimentPlan,
    ModelPlan,
    Setting,
    StagePlan,
)
from services.orchestrator.catalogue.experiments import MAX_MARGIN_PX, MAX_MASK_PX

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


def plan_experiment(graph: Graph, end: Node) -> ExperimentPlan:
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

    def cut_out(self, segmenter: Node) -> ExperimentPlan:
        """A workflow that paints nothing."""
        self._check_ground(segmenter, "Alpha")
        picture = self._reader.picture(segmenter, seen_by(segmenter))
        self._check_seen(segmenter, picture, picture.load)
        mask = mask_nodes.of_segmenter(self._graph, segmenter)
        stages = [StagePlan("segment", f"{segmenter}: BEN2 finds the subject; the answer is transparent around it")]
        if mask != Mask(segmenter, "subject"):
            stages.append(StagePlan("mask", f"{segmenter}: what stays", feature_options.mask_options(mask)))
        return ExperimentPlan(
            models=(ModelPlan("BEN2", f"{segmenter}"),),
            feature_id="cut_out",
            feature_name=NAMES["cut_out"],
            requires_mask=Choice(value=False, why="BEN2 finds the subject"),
            stages=tuple(stages),
            notes=tuple(self._left_out()),
        )

    def painted(self) -> ExperimentPlan:
        """A workflow with one sampler or several, each on the result of the one before."""
        graph, result = self._graph, self._reader.picture(self._end, "images")
        if not result.passes:
            raise graph.refused(self._end, "images", f"must be a picture that a sampler painted, is {result}")
        passes = result.passes
        self._check_result(result)
        for paint_pass in passes:
            self._check_mask(paint_pass)
        self._check_together(passes)
        stages = [*self._segment(passes)]
        for paint_pass in passes:
            stages += self._pass(paint_pass, is_last=paint_pass is passes[-1])
        last = passes[-1]
        own = any(paint_pass.mask and paint_pass.mask.origin == "own" for paint_pass in passes)
        feature = feature_options.feature_of(passes)
        return ExperimentPlan(
            models=tuple(self._models(passes, has_segment=stages[0].kind == "segment")),
            feature_id=feature,
            feature_name=NAMES[feature],
            requires_mask=feature_options.requires_mask(passes, own=own),
            stages=tuple(stages),
            parameters=feature_options.parameters(last),
            defaults=self._defaults(passes),
            settings=self._all_settings(passes),
            notes=(*self._notes, *self._left_out()),
        )

    def _check_result(self, result: ImagePath) -> None:
        """Check that the result has the picture's own size.

        Scaling back to it is left out; any other scaling is rejected.
        """
        for scale in result.scales:
            if scale.kind == "ImageScaleBy" or not any(paint_pass.base.scales for paint_pass in result.passes):
                raise self._graph.refused(
                    scale, "image", "must not be the result: an answer has the size of the caller's picture"
                )
            self._notes.append(f"{scale} is left out: an answer has the size of the caller's picture")

    def _check_mask(self, paint_pass: PaintPass) -> None:
        """A mask and the picture that is painted belong together."""
        graph, base, mask = self._graph, paint_pass.base, paint_pass.mask
        if (mask is not None and mask.origin == "margins") != (base.pad is not None) or (
            mask is not None and base.pad is not None and mask.source.id != base.pad.id
        ):
            where = base.pad or (mask.source if mask else paint_pass.sampler)
            raise WorkflowError(
                f"{where}: picture and mask of {paint_pass.sampler} must both be of one ImagePadForOutpaint, whose "
                "margins alone are painted then"
            )
        if mask is not None and mask.origin == "subject":
            self._check_seen(mask.source, self._reader.picture(mask.source, seen_by(mask.source)), base.load)
        if base.cutout is None:
            return
        if paint_pass.stage_kind == "fill":
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

    def _check_seen(self, segmenter: Node, seen: ImagePath, load: Node) -> None:
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
            names = " or ".join(shown_value(name) for name in known)
            raise self._graph.refused(segmenter, field, f"must be {names}, is {shown_value(colour)}")

    def _check_together(self, passes: tuple[PaintPass, ...]) -> None:
        """A request has one picture, one mask and one profile for all passes."""
        masked = [paint_pass.mask for paint_pass in passes if paint_pass.mask and paint_pass.mask.origin != "margins"]
        if len({mask.origin for mask in masked}) > 1:
            raise WorkflowError(
                f"{masked[0].source} and {masked[1].source}: a request has one mask for all passes: the caller's or "
                "BEN2's"
            )
        sources = {mask.source.id: mask.source for mask in masked if mask.origin == "own"}
        if len(sources) > 1:
            names = " and ".join(map(str, sources.values()))
            raise WorkflowError(f"{names}: a request has one mask_image for all passes")
        with_lora = [paint_pass for paint_pass in passes if paint_pass.network.lora]
        if with_lora and len(with_lora) < len(passes):
            raise WorkflowError(
                f"{with_lora[0].sampler}: runs with a LoRA and another pass without one; a request has one profile for "
                "all passes"
            )

    def _segment(self, passes: tuple[PaintPass, ...]) -> Iterator[StagePlan]:
        """The stage for the subject, where a mask, a cut-out or a saved picture needs it."""
        for paint_pass in passes:
            if paint_pass.mask is not None and paint_pass.mask.origin == "subject":
                yield StagePlan("segment", paint_pass.mask.reasons["source"])
                return
            if paint_pass.base.cutout is not None:
                yield StagePlan("segment", f"{paint_pass.base.cutout}: BEN2 finds the subject")
                return
        if any(paint_pass.mask and paint_pass.mask.origin == "own" for paint_pass in passes):
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

    def _pass(self, paint_pass: PaintPass, *, is_last: bool) -> Iterator[StagePlan]:
        """The stages of one pass."""
        base, mask, sampler = paint_pass.base, paint_pass.mask, paint_pass.sampler
        self._note(paint_pass)
        if base.pad is not None:
            yield self._extend(base.pad)
        elif mask is not None:
            yield StagePlan("mask", mask.reasons["source"], feature_options.mask_options(mask))
        elif base.cutout is not None:
            cut = mask_nodes.of_segmenter(self._graph, base.cutout)
            kept = {
                name: choice
                for name, choice in feature_options.mask_options(cut).items()
                if name in ("choose", "threshold")
            }
            yield StagePlan("mask", f"{base.cutout}: what is cut out", kept)
        yield StagePlan(
            paint_pass.stage_kind,
            f"{sampler} with {paint_pass.network.plan.model_id}",
            feature_options.paint_options(paint_pass, is_last=is_last),
        )
        if paint_pass.composite is not None:
            yield StagePlan("composite", f"{paint_pass.composite}: kept pixels are put back by the mask")
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

    def _note(self, paint_pass: PaintPass) -> None:
        self._notes += [*paint_pass.notes, *paint_pass.numbers.notes, *paint_pass.network.notes]
        for scale in paint_pass.base.scales:
            self._notes.append(f"{scale}: a chain scales by itself, without stretching, to the work area and back")
        if len(paint_pass.references) > MAX_REFERENCES:
            raise WorkflowError(f"{paint_pass.sampler}: must have at most {MAX_REFERENCES} reference pictures")

    def _models(self, passes: tuple[PaintPass, ...], *, has_segment: bool) -> Iterator[ModelPlan]:
        if has_segment:
            yield ModelPlan("BEN2", "finds the subject")
        seen = set()
        for paint_pass in passes:
            found = paint_pass.network.plan
            if found.model_id not in seen:
                seen.add(found.model_id)
                yield found

    def _defaults(self, passes: tuple[PaintPass, ...]) -> dict[str, Choice]:
        last, found = passes[-1], {}
        if texts.comparable(last.prompt.value).strip():
            found["prompt"] = last.prompt
        else:
            self._notes.append(f"{last.prompt.why} is empty, so every request brings a prompt")
        if last.stage_kind == "fill" and last.negative is not None:
            found["negative_prompt"] = last.negative
        found["seed"] = last.numbers.seed
        seeds = {paint_pass.numbers.seed.value for paint_pass in passes}
        if len(seeds) > 1:
            self._notes.append(f"{last.sampler}: all passes of an edit have its seed")
        if last.network.lora is not None:
            found["profile"] = last.network.lora
            self._notes.append(
                "profiles balanced and high run without the LoRA, on the same defaults: raise --steps with them"
            )
        return found

    def _all_settings(self, passes: tuple[PaintPass, ...]) -> tuple[Setting, ...]:
        found = {setting.variable: setting for paint_pass in passes for setting in paint_pass.network.settings}
        for paint_pass in passes:
            for setting in paint_pass.network.settings:
                if found[setting.variable].value != setting.value:
                    raise WorkflowError(
                        f"{setting.why}: must be the same file for all passes, since a service loads one, is "
                        f"{shown_value(setting.value)} beside {shown_value(found[setting.variable].value)}"
                    )
            found |= {setting.variable: setting for setting in self._work_pixels(paint_pass)}
        return tuple(found.values())

    def _work_pixels(self, paint_pass: PaintPass) -> Iterator[Setting]:
        """Settings for a picture that is sampled at another size than a service's own."""
        if not paint_pass.base.scales:
            return
        graph, scale = self._graph, paint_pass.base.scales[-1]
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
            yield Setting(f"IMGEDIT_{paint_pass.stage_kind.upper()}_MAX_PIXELS", str(pixels), f"{scale}: pixels")

    def _left_out(self) -> Iterator[str]:
        """Notes of parts without effect on the result: unknown inputs and unused nodes."""
        yield from self._graph.strange_inputs(self._end)
        used = {node.id for node in self._graph.behind(self._end)}
        others = [node for node in self._graph.nodes if node.id not in used]
        for node in others[:MAX_LEFT_OUT]:
            yield f"{node} is left out: the saved picture does not depend on it"
        if len(others) > MAX_LEFT_OUT:
            yield f"and {len(others) - MAX_LEFT_OUT} more nodes, on which the saved picture does not depend"
