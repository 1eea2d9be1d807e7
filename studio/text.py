"""Every text of the page, in Korean and English.

The server's texts (names, descriptions, help, errors) stay as they are; only untranslated names are translated here.
"""

from __future__ import annotations

import re
import string
from typing import Literal

Language = Literal["ko", "en"]

LANGUAGES: dict[Language, str] = {"ko": "한국어", "en": "English"}

_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in string.punctuation})

_WORD_JOINER = "\N{WORD JOINER}"
_LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
"""Where an address is recognised after Markdown has been read, escaped or not."""


def plain(text: str) -> str:
    """Escape a foreign text for Markdown: no link, image or formula.

    An invisible joiner keeps Streamlit from turning addresses into links.
    """
    return _LINKED.sub(_WORD_JOINER, " ".join(text.split())).translate(_ESCAPED)


class Words:
    """The texts in one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._column = 0 if language == "ko" else 1

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with values filled in."""
        return TEXTS[key][self._column].format(**values)

    def named(self, group: str, name: str) -> str:
        """The display name of a technical name; the name itself if the table lacks it."""
        found = TEXTS.get(f"{group}.{name}")
        return found[self._column] if found else name

    def list(self, key: str) -> list[str]:
        """The lines of a text."""
        found = TEXTS.get(key)
        return found[self._column].splitlines() if found else []

    def seconds(self, seconds: float) -> str:
        """A duration."""
        if seconds < 60:
            return self("seconds", seconds=f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}")
        return self("minutes", minutes=int(seconds // 60), seconds=int(seconds % 60))

    def about(self, seconds: float) -> str:
        """An expected duration, in whole seconds."""
        rounded = max(1, round(seconds))
        return self("seconds", seconds=rounded) if rounded < 60 else self.seconds(rounded)


TEXTS: dict[str, tuple[str, str]] = {
    "title": ("이미지 편집 실험", "Image editing experiments"),
    "subtitle": (
        "이미지를 고르고, 바꿀 내용을 문장으로 쓰면 됩니다.",
        "Choose an image and describe the change in one sentence.",
    ),
    "language": ("언어", "Language"),
    "seconds": ("{seconds}초", "{seconds} s"),
    "minutes": ("{minutes}분 {seconds}초", "{minutes} min {seconds} s"),
    # Task, experiment and feature
    "tasks": ("무엇을 할까요?", "Task"),
    "experiment": ("실험", "Experiment"),
    "feature": ("기능", "Feature"),
    "description.ben2_flux_fill": ("배경 제거 후 인페인팅/아웃페인팅", "Cut out the subject, then repaint or extend"),
    "description.ben2_qwen_image": ("배경 제거 후 정밀 편집", "Cut out the subject, then edit by instruction"),
    "description.ben2": ("배경 제거", "Cut out the subject"),
    "name.inpainting": ("영역 채우기", "Inpainting"),
    "name.outpainting": ("이미지 확장", "Outpainting"),
    "name.appearance_editing": ("외관 편집", "Appearance"),
    "name.semantic_editing": ("의미론적 편집", "Objects and scene"),
    "name.text_editing": ("텍스트 편집", "Text"),
    "name.multi_image_editing": ("다중 이미지 편집", "Several images"),
    "name.background_removal": ("배경 제거", "Background removal"),
    "unavailable": (
        "지금은 쓸 수 없습니다. {services}가 응답하지 않습니다. 다시 응답하면 이 페이지에서 바로 쓸 수 있습니다.",
        "Not available: {services} does not respond. The page continues automatically when it does.",
    ),
    "service.segmentation": ("배경을 분리하는 서비스(BEN2)", "the service that finds the subject (BEN2)"),
    "service.fill": ("그림을 그리는 서비스(FLUX)", "the service that paints (FLUX)"),
    "service.qwen_edit": ("편집하는 서비스(Qwen)", "the service that edits (Qwen)"),
    "language.rewritten": (
        "이 모델은 영어를 읽습니다. 한국어 프롬프트는 먼저 영어로 번역됩니다.",
        "This model reads English. Korean prompts are translated first.",
    ),
    # Picture
    "picture": ("이미지", "Image"),
    "upload": ("이미지 올리기", "Upload images"),
    "upload.help": (
        "PNG, JPG, WebP, HEIC(아이폰), BMP · 64MB까지. 큰 사진은 줄여서 씁니다. 여러 장은 한꺼번에 편집합니다.",
        "PNG, JPEG, WebP, HEIC (iPhone), AVIF, BMP · up to 64 MB. Large photos are reduced. Several make a batch.",
    ),
    "uploader.button": ("파일 고르기", "Choose files"),
    "uploader.limit": (
        "또는 끌어다 놓기, 붙여넣기(Ctrl+V) · JPG, PNG, WebP, HEIC · 64MB까지",
        "or drop or paste them (Ctrl+V) · JPEG, PNG, WebP, HEIC · up to 64 MB",
    ),
    "samples": ("샘플 이미지", "Sample images"),
    "samples.pick": ("{name} 샘플 사용", "Use the sample {name}"),
    "picture.size": ("{width} × {height} px · {kind}", "{width} × {height} px · {kind}"),
    "picture.reduced": (
        "원본({width} × {height})이 너무 커서 편집할 수 있는 크기로 줄였습니다.",
        "The file ({width} × {height}) is larger than can be edited; it was reduced.",
    ),
    "picture.remove": ("이미지 지우기", "Remove the image"),
    "picture.none": ("편집할 이미지를 올리거나 샘플을 고르세요.", "Upload an image to edit, or choose a sample."),
    "picture.alt": ("편집할 이미지", "The image to edit"),
    "batch.many": ("{count}장을 한꺼번에 편집합니다.", "{count} images are edited as a batch."),
    "batch.too_many": (
        "한 번에 {max}장까지 편집할 수 있습니다. {count}장 가운데 앞의 {max}장만 편집합니다.",
        "At most {max} images at once: only the first {max} of {count} are edited.",
    ),
    # Prompt
    "prompt": ("프롬프트", "Prompt"),
    "prompt.placeholder": (
        "예: 배경을 밝은 현대적인 체육관으로 변경, 운동 기구 포함",
        "For example: change the background to a bright modern gym with equipment",
    ),
    "prompt.too_long": (
        "프롬프트가 너무 깁니다: {count}자. {max}자까지 쓸 수 있습니다.",
        "The prompt is too long: {count} characters, at most {max} are read.",
    ),
    "prompt.missing": ("바꿀 내용을 프롬프트에 쓰세요.", "Describe the change in the prompt."),
    "tips": ("작성 팁", "Writing tips"),
    "tips.specific": ("구체적으로 쓰세요", "Be specific"),
    "tips.specific.weak": ("배경 변경", "change the background"),
    "tips.specific.good": (
        "배경을 밝은 현대적인 체육관으로 변경, 운동 기구 포함",
        "change the background to a bright modern gym with equipment",
    ),
    "tips.object": ("대상을 설명하세요", "Describe the object"),
    "tips.object.weak": ("색상 변경", "change the colour"),
    "tips.object.good": (
        "운동복의 상의를 파란색에서 빨간색으로 변경",
        "change the top of the sportswear from blue to red",
    ),
    "tips.style": ("스타일을 지정하세요", "Name the style"),
    "tips.style.weak": ("예쁘게", "make it pretty"),
    "tips.style.good": (
        "전문적이고 깔끔한 스타일, 밝은 조명",
        "professional and clean style, bright light",
    ),
    "negative": ("부정 프롬프트", "Negative prompt"),
    "negative.auto": ("자동", "Automatic"),
    "negative.off": ("없음", "None"),
    "negative.custom": ("직접 입력", "Custom"),
    "negative.auto_text": ("자동으로 쓰임: {text}", "Default: {text}"),
    "negative.placeholder": ("예: blurry, extra fingers, bad hands", "For example: blurry, extra fingers, bad hands"),
    # Parameters
    "parameters": ("파라미터", "Parameters"),
    "parameter.steps": ("Steps (추론 단계)", "Steps"),
    "parameter.guidance_scale": ("Guidance Scale (프롬프트 반영)", "Guidance scale"),
    "parameter.strength": ("Strength (변화 강도)", "Strength"),
    "parameter.negative_scale": ("부정 프롬프트의 세기", "Weight of the negative prompt"),
    "parameter.profile": ("프로필", "Profile"),
    "parameter.seed": ("시드", "Seed"),
    "parameter.n": ("결과 수", "Results"),
    "parameter.expand_prompt": ("프롬프트 자동 확장", "Expand the prompt"),
    "parameter.postprocess": ("후처리", "Postprocessing"),
    "parameter.background": ("배경 처리", "Background"),
    "parameter.mask_options.subject": ("다시 그릴 부분", "Part to repaint"),
    "parameter.mask_options.invert": ("마스크 반전", "Invert the mask"),
    "parameter.mask_options.threshold": ("마스크 기준값 (threshold)", "Mask threshold"),
    "parameter.mask_options.fill_holes": ("마스크 안쪽 구멍 채우기", "Fill holes in the mask"),
    "parameter.mask_options.grow_px": ("마스크 넓히기 (px)", "Grow the mask (px)"),
    "parameter.mask_options.feather_px": ("가장자리 부드럽게 (px)", "Feather (px)"),
    "loras": ("LoRA", "LoRAs"),
    "loras.none": ("사용 안 함", "None"),
    "loras.scale": ("{name}의 세기", "Strength of {name}"),
    "recommended": ("권장 {low}–{high}", "Recommended {low}–{high}"),
    "recommended.one": ("권장 {low}", "Recommended {low}"),
    "moved": (
        "{name}: 저장된 값 {old}을(를) 지금 범위({low}–{high})에 맞춰 {new}(으)로 바꿨습니다.",
        "{name}: the kept value {old} is outside the present range {low}–{high}; it is {new} now.",
    ),
    "by_profile": ("{name}: {value} ({profile} 프로필)", "{name}: {value} (profile {profile})"),
    "by_profile.own": ("{name} 직접 정하기", "Set {name} myself"),
    "seed.random": ("무작위", "Random"),
    "seed.fixed": ("고정", "Fixed"),
    "seed.value": ("시드 값", "Seed value"),
    "choice.PROFILE_FAST": ("빠름", "Fast"),
    "choice.PROFILE_BALANCED": ("균형", "Balanced"),
    "choice.PROFILE_HIGH": ("고품질", "High"),
    "choice.POSTPROCESS_ON": ("켜기", "On"),
    "choice.POSTPROCESS_OFF": ("끄기", "Off"),
    "choice.BACKGROUND_WHOLE": ("전체 편집", "Edit everything"),
    "choice.BACKGROUND_KEEP": ("배경 유지", "Keep it"),
    "choice.BACKGROUND_REMOVE": ("흰 배경", "Plain white"),
    "choice.BACKGROUND_TRANSPARENT": ("투명 배경", "Transparent"),
    "choice.MASK_SUBJECT_SUBJECT": ("피사체", "Subject"),
    "choice.MASK_SUBJECT_BACKGROUND": ("배경", "Background"),
    "choice.OUTPUT_FORMAT_PNG": ("PNG (무손실)", "PNG (lossless)"),
    "choice.OUTPUT_FORMAT_JPEG": ("JPEG", "JPEG"),
    "choice.OUTPUT_FORMAT_WEBP": ("WebP", "WebP"),
    "advanced": ("고급 설정", "Advanced"),
    "output.format": ("결과 형식", "Format of the result"),
    "output.quality": ("품질", "Quality"),
    # Mask
    "mask": ("마스크", "Mask"),
    "mask.auto": ("자동 (BEN2)", "Automatic (BEN2)"),
    "mask.brush": ("브러시", "Brush"),
    "mask.upload": ("파일", "File"),
    "mask.how": ("마스크 지정 방법", "Source of the mask"),
    "mask.file": (
        "마스크 파일 (흰색 = 다시 그릴 곳, 이미지와 같은 크기)",
        "Mask file (white = repaint, of the image's size)",
    ),
    "mask.empty": ("다시 그릴 곳을 칠하세요.", "Paint over the area to repaint."),
    "mask.brush_where": (
        "큰 그림에서 다시 그릴 곳을 칠하세요. 붉은 부분만 다시 그립니다.",
        "Paint on the large image. Only the red area is repainted.",
    ),
    "mask.ask": ("다시 그릴 부분 보기", "Show the area to repaint"),
    "mask.asking": ("다시 그릴 부분을 찾는 중…", "Finding the area to repaint …"),
    "mask.whole": ("이미지 전체를 다시 그립니다.", "The whole image is edited."),
    "mask.overlay": ("붉은 부분을 다시 그립니다.", "The red area is repainted."),
    "mask.needs_picture": ("먼저 이미지를 고르세요.", "Choose an image first."),
    "brush.label": (
        "마스크 그리기. 화살표 키로 움직이고 스페이스로 칠합니다. + 와 - 로 확대하고 축소합니다.",
        "Paint a mask. The arrow keys move, the space bar paints, + and - zoom.",
    ),
    "brush.brushing": ("브러시", "Brush"),
    "brush.rectangle": ("사각형", "Rectangle"),
    "brush.lasso": ("올가미", "Lasso"),
    "brush.hand": ("이동", "Move"),
    "brush.size": ("브러시 크기", "Brush size"),
    "brush.paint": ("칠하기", "Paint"),
    "brush.erase": ("지우개", "Erase"),
    "brush.undo": ("실행 취소", "Undo"),
    "brush.redo": ("다시 실행", "Redo"),
    "brush.invert": ("반전", "Invert"),
    "brush.clear": ("모두 지우기", "Clear"),
    "brush.start": ("자동 마스크에서 시작", "Start from BEN2's mask"),
    "brush.starting": ("찾는 중…", "Finding …"),
    "brush.zoom_in": ("확대", "Zoom in"),
    "brush.zoom_out": ("축소", "Zoom out"),
    "brush.zoom_fit": ("전체 보기", "Show all"),
    "brush.full": ("전체 화면", "Full screen"),
    "brush.covered": ("{percent}% 칠함", "{percent}% painted"),
    # Margins
    "outpaint": ("확장할 여백", "Margins to add"),
    "outpaint.prompt": ("프롬프트의 방향", "From the prompt"),
    "outpaint.margins": ("직접 지정", "In pixels"),
    "outpaint.aspect": ("비율", "Aspect"),
    "outpaint.left": ("왼쪽 (px)", "Left (px)"),
    "outpaint.right": ("오른쪽 (px)", "Right (px)"),
    "outpaint.top": ("위쪽 (px)", "Top (px)"),
    "outpaint.bottom": ("아래쪽 (px)", "Bottom (px)"),
    "outpaint.fit": ("비율에 맞춰 채우기", "Fill in for an aspect"),
    "outpaint.fit.already": ("이미 이 비율입니다.", "The image has this aspect already."),
    "outpaint.fit.too_large": (
        "이 비율로 확장하면 이미지가 너무 커집니다.",
        "With this aspect the image would be too large.",
    ),
    "outpaint.fit.too_far": (
        "이 비율로 만들려면 한 변을 {max}px보다 더 넓혀야 합니다.",
        "This aspect needs a margin of more than {max} px.",
    ),
    "outpaint.by_words": (
        "프롬프트에 왼쪽, 오른쪽, 위쪽, 아래쪽, 양옆, 사방 같은 방향을 쓰세요.",
        "Name a direction in the prompt: left, right, top, bottom, both sides, all sides.",
    ),
    "outpaint.preview": ("확장 뒤 크기: {width} × {height} px", "Size afterwards: {width} × {height} px"),
    # References
    "references": ("참조 이미지", "Reference images"),
    "references.upload": ("참조 이미지 ({max}장까지)", "Reference images (up to {max})"),
    "references.caption": ("Picture {number}", "Picture {number}"),
    "references.remove": ("참조 이미지 지우기", "Remove the references"),
    "references.too_many": ("앞의 {max}장만 쓰입니다.", "Only the first {max} are used."),
    "references.how": (
        "프롬프트에서는 Picture 2, Picture 3 으로 부르세요.",
        "Call them Picture 2 and Picture 3 in the prompt.",
    ),
    # Doing it
    "edit": ("이미지 편집", "Edit the image"),
    "edit.many": ("이미지 {count}장 편집", "Edit {count} images"),
    "expected": ("약 {time}", "about {time}"),
    "expected.ahead": ("앞에 {count}건", "{count} ahead"),
    "edit.next": ("다음으로 예약: {what}", "Queue: {what}"),
    "line": ("예약한 편집", "Queued edits"),
    "line.place": ("{place}번째 · {what}", "No. {place} · {what}"),
    "line.leave": ("예약 취소", "Remove from the queue"),
    "line.again": (
        "같은 편집이 진행 중이거나 이미 예약되어 있습니다. 이미지나 설정을 바꾸면 예약할 수 있습니다.",
        "The same edit runs or is queued already. Change the image or the settings to queue another.",
    ),
    "line.full": (
        "더 예약할 수 없습니다. 앞의 편집이 끝난 뒤 다시 누르세요.",
        "The queue is full. Press again after an edit has ended.",
    ),
    "line.room": (
        "묶음을 더 둘 자리가 없습니다. 끝난 묶음의 결과를 받아 지운 뒤 다시 누르세요.",
        "There is no room for another batch. Download and remove one that has ended, then press again.",
    ),
    "line.failed": ("예약한 편집이 실패했습니다: {name}", "A queued edit failed: {name}"),
    "cancel": ("취소", "Cancel"),
    "notify": ("끝나면 알림", "Tell me at the end"),
    "notify.help": (
        "다른 창을 보고 있을 때 편집이 끝나면 소리와 브라우저 알림으로 알려 줍니다.",
        "A sound and a notification of the browser when an edit ends while you look elsewhere.",
    ),
    "notify.ended": ("편집이 끝났습니다.", "The edit has ended."),
    "cancelling": ("취소하는 중…", "Cancelling …"),
    "waiting": ("대기 중 · 앞에 {count}건", "Waiting · {count} before this one"),
    "waiting.next": ("대기 중 · 다음 차례", "Waiting · next in line"),
    "starting": ("보내는 중…", "Sending …"),
    "stage": ("작업 {index}/{count} · {name}", "Stage {index} of {count} · {name}"),
    "stage.segment": ("배경 분리", "Finding the subject"),
    "stage.rewrite_prompt": ("프롬프트 번역", "Translating the prompt"),
    "stage.mask": ("마스크 만들기", "Making the mask"),
    "stage.extend": ("여백 만들기", "Extending the canvas"),
    "stage.fill": ("그리기 (FLUX.1-Fill)", "Painting (FLUX.1-Fill)"),
    "stage.qwen_edit": ("편집 (Qwen-Image-Edit)", "Editing (Qwen-Image-Edit)"),
    "stage.composite": ("합성", "Composing"),
    "step": ("스텝 {step}/{steps}", "step {step} of {steps}"),
    "left": ("약 {time} 남음", "about {time} left"),
    "elapsed": ("{time} 경과", "{time} so far"),
    "preview": ("미리보기", "Preview"),
    # Crop
    "crop": ("자르기·회전", "Crop and rotate"),
    "crop.left": ("왼쪽으로 회전", "Rotate left"),
    "crop.right": ("오른쪽으로 회전", "Rotate right"),
    "crop.reset": ("처음으로", "Reset"),
    "crop.close": ("닫기", "Close"),
    "crop.apply": ("적용", "Apply"),
    "crop.label": (
        "자를 부분. 그림 위를 끌거나 아래 슬라이더로 정합니다.",
        "The part to keep. Drag on the image, or use the sliders below.",
    ),
    "crop.fit": ("비율에 맞춰 자르기", "Cut to an aspect"),
    "crop.edge.left": ("왼쪽 끝", "Left edge"),
    "crop.edge.right": ("오른쪽 끝", "Right edge"),
    "crop.edge.top": ("위쪽 끝", "Top edge"),
    "crop.edge.bottom": ("아래쪽 끝", "Bottom edge"),
    # Result
    "result": ("결과", "Result"),
    "result.done": ("{time} 만에 끝났습니다.", "Done in {time}."),
    "original": ("원본", "Original"),
    "cutout": ("배경 제거", "Background removed"),
    "edited": ("편집 결과", "Result"),
    "compare": ("비교", "Compare"),
    "compare.label": ("원본과 결과를 가르는 위치(%)", "Position of the divider between original and result (%)"),
    "side_by_side": ("나란히", "Side by side"),
    "mask.used": ("마스크", "Mask"),
    "download": ("다운로드", "Download"),
    "download.cutout": ("배경 제거", "Cut-out"),
    "download.mask": ("마스크", "Mask"),
    "picture.back": ("원본으로 돌아가기", "Back to the original"),
    "use_result": ("이 결과에서 이어서 편집", "Continue from this result"),
    "again": ("다른 결과 {count}장 더 만들기", "Make {count} more variants"),
    "load": ("이 설정 불러오기", "Load these settings"),
    # Gallery
    "gallery": ("보관함", "Gallery"),
    "gallery.starred": ("별표만 보기", "Starred only"),
    "gallery.more": ("{count}개 더 보기", "Show {count} more"),
    "gallery.days": (
        "별표가 없는 결과는 {days}일 뒤에 지워집니다. 자리가 모자라면 오래된 것부터 지웁니다.",
        "Results without a star are deleted after {days} days, and the oldest earlier if space runs short.",
    ),
    "gallery.pick": ("보관함에서 열기: {time} {what}", "Open from the gallery: {time} {what}"),
    "gallery.star": ("별표", "Star"),
    "gallery.unstar": ("별표 지우기", "Remove the star"),
    "gallery.delete": ("삭제", "Delete"),
    "gallery.delete.sure": ("보관함에서 이 결과를 지웁니다. 되돌릴 수 없습니다.", "This deletes the result for good."),
    "gallery.delete.yes": ("결과 삭제", "Delete the result"),
    "gallery.clear": ("보관함 비우기", "Empty the gallery"),
    "gallery.clear.sure": (
        "별표를 붙인 것까지 보관함의 결과를 모두 지웁니다. 되돌릴 수 없습니다.",
        "This deletes all results of the gallery for good, starred ones too.",
    ),
    "gallery.clear.yes": ("모두 삭제", "Delete all"),
    "gallery.unreadable": (
        "지금은 보관함을 쓸 수 없습니다. 편집은 계속할 수 있습니다. 관리자에게 알려 주세요.",
        "The gallery cannot be used now. You can still edit. Tell the operator.",
    ),
    "gallery.not_kept": (
        "결과를 보관함에 저장하지 못했습니다: {why}. 결과는 아래에 있으니 필요하면 다운로드하세요.",
        "The result is not in the gallery: {why}. It is shown below; download it to keep it.",
    ),
    "not_kept.full": ("디스크가 가득 찼습니다", "the disk is full"),
    "not_kept.too_large": ("결과가 보관함 한도보다 큽니다", "it is larger than the gallery may be"),
    "not_kept.broken": ("디스크에 쓸 수 없습니다", "the disk cannot be written"),
    "details": ("적용된 설정", "Parameters used"),
    "details.prompt": ("모델에 전달된 프롬프트", "Prompt for the model"),
    "details.requested": ("입력한 프롬프트", "Your prompt"),
    "details.translated": ("번역됨", "translated"),
    "details.expanded": ("확장됨", "expanded"),
    "details.negative": ("모델에 전달된 부정 프롬프트", "Negative prompt for the model"),
    "details.parameter": ("항목", "Parameter"),
    "details.value": ("값", "Value"),
    "details.timings": ("작업별 시간", "Time per stage"),
    "details.warnings": ("알림", "Notes"),
    "value.steps": ("Steps", "Steps"),
    "value.steps_run": ("실행한 스텝", "Steps run"),
    "value.full_steps": ("전체를 계산한 스텝", "Steps that computed the whole picture"),
    "value.guidance_scale": ("Guidance Scale", "Guidance scale"),
    "value.strength": ("Strength", "Strength"),
    "value.seed": ("시드", "Seed"),
    "value.profile": ("프로필", "Profile"),
    "value.size": ("결과 크기", "Size"),
    "value.work_size": ("모델 작업 크기", "Working size of the model"),
    "value.background": ("배경 처리", "Background"),
    "value.mask_source": ("마스크", "Mask"),
    "value.outpaint": ("여백 (왼쪽, 오른쪽, 위, 아래)", "Margins (left, right, top, bottom)"),
    "value.models": ("모델", "Models"),
    "value.request_id": ("요청 ID", "Request id"),
    "choice.MASK_SOURCE_WHOLE": ("전체 이미지", "The whole image"),
    "choice.MASK_SOURCE_SEGMENTATION": ("BEN2 자동", "BEN2's"),
    "choice.MASK_SOURCE_REQUEST": ("직접 지정", "Custom"),
    "choice.MASK_SOURCE_MARGINS": ("여백", "The margins"),
    "variants": ("함께 만든 결과", "Made together"),
    "history": ("작업 기록", "History"),
    "history.pick": ("{number}번 결과 보기: {feature}", "Show result {number}: {feature}"),
    "history.clear": ("기록 지우기", "Clear"),
    "empty.title": ("여기에 결과가 나타납니다", "The result appears here"),
    "empty.text": (
        "① 이미지를 고르고  ② 프롬프트를 쓰고  ③ 이미지 편집을 누르세요.",
        "① Choose an image  ② write a prompt  ③ press Edit the image.",
    ),
    "empty.no_prompt": (
        "① 이미지를 고르고  ② 이미지 편집을 누르세요. 프롬프트는 필요 없습니다.",
        "① Choose an image  ② press Edit the image. No prompt is needed.",
    ),
    # Batch
    "batch": ("일괄 편집", "Batch"),
    "batch.progress": ("{done}/{count}장 끝남", "{done} of {count} done"),
    "batch.failed": ("{count}장 실패", "{count} failed"),
    "batch.seed": ("시드", "Seed"),
    "batch.again": ("다시 시도", "Try again"),
    "batch.again_all": ("끝나지 않은 {count}장 다시 시도", "Try the unfinished {count} again"),
    "batches": ("끝난 일괄 편집", "Finished batches"),
    "batch.name": ("묶음 {number}", "Batch {number}"),
    "batch.show": ("결과 보기", "Show"),
    "batch.zip.short": ("ZIP", "ZIP"),
    "batch.remove": ("지우기", "Remove"),
    "batch.remove.sure": (
        "이 묶음의 결과를 목록에서 지웁니다. 필요한 결과는 먼저 다운로드하세요.",
        "This removes the batch and its results. Download what you need first.",
    ),
    "batch.remove.yes": ("묶음 지우기", "Remove the batch"),
    "batch.zip": ("모두 다운로드 (ZIP)", "Download all (ZIP)"),
    "state.waiting": ("대기", "Waiting"),
    "state.running": ("진행 중", "Running"),
    "state.done": ("완료", "Done"),
    "state.failed": ("실패", "Failed"),
    "state.cancelled": ("취소됨", "Cancelled"),
    # Errors
    "error": ("편집하지 못했습니다", "The edit failed"),
    "error.page": (
        "페이지를 그리는 중에 오류가 났습니다. 새로 고친 뒤에도 계속되면 관리자에게 알려 주세요.",
        "The page failed to load completely. If a reload does not help, tell the operator.",
    ),
    "error.cancelled": ("편집을 취소했습니다.", "The edit was cancelled."),
    "error.request_id": ("요청 ID {id}", "Request id {id}"),
    "error.retry_after": ("{time} 뒤에 다시 시도할 수 있습니다.", "Try again in {time}."),
    "error.no_server": ("서버에 연결할 수 없습니다", "The server is unreachable"),
    "error.list": ("실험 목록을 불러오지 못했습니다", "The experiments could not be loaded"),
    "error.again": ("다시 시도", "Try again"),
    "advice.IMAGE_REJECTED": (
        "PNG, JPG, WebP로 다시 저장하거나 크기를 줄여서 올리세요.",
        "Save it again as PNG, JPEG or WebP, or make it smaller, and upload that.",
    ),
    "advice.INVALID_FIELD": ("위 항목을 고친 뒤 다시 시도하세요.", "Change the fields above and edit again."),
    "advice.NO_SUBJECT_FOUND": (
        "마스크를 브러시로 칠하거나 파일로 올리세요.\n더 선명한 이미지를 쓰거나 마스크 기준값을 바꿔 보세요.",
        "Paint the mask with the brush, or upload one.\nOr use a clearer image, or another mask threshold.",
    ),
    "advice.PROMPT_LANGUAGE_UNSUPPORTED": (
        "프롬프트를 영어로 쓰면 바로 편집할 수 있습니다.",
        "Write the prompt in English.",
    ),
    "advice.QUEUE_FULL": ("잠시 후 이미지 편집을 다시 누르세요.", "Press Edit the image again in a moment."),
    "advice.TOO_MANY_EDITS": (
        "진행 중인 편집이 끝난 뒤 다시 누르세요.",
        "Try again after the running edits have finished.",
    ),
    "advice.OUT_OF_MEMORY": (
        "이미지 크기를 줄이세요(예: 2048 → 1024).\n계속되면 관리자에게 메모리 설정을 확인해 달라고 하세요.",
        "Make the image smaller (for example 2048 → 1024).\nIf it persists, ask the operator to check memory.",
    ),
    "advice.NUMERIC_FAILURE": (
        "다시 편집해도 같으면 요청 ID와 함께 관리자에게 알려 주세요.",
        "If it happens again, tell the operator the request id.",
    ),
    "advice.SERVICE_UNAVAILABLE": (
        "잠시 후 다시 시도하세요. 입력한 내용은 그대로 남아 있습니다.",
        "Try again in a moment. Your input is still here.",
    ),
    "advice.DEADLINE_PASSED": (
        "Steps를 줄이거나 더 작은 이미지를 쓰세요.",
        "Use fewer steps or a smaller image.",
    ),
    "advice.WOULD_MISS_DEADLINE": (
        "Steps를 줄이거나 더 작은 이미지를 쓰세요.",
        "Use fewer steps or a smaller image.",
    ),
    "advice.UNAUTHENTICATED": (
        "관리자에게 알려 주세요: 페이지의 IMGEDIT_STUDIO_TOKEN 이 없거나 맞지 않습니다.",
        "Tell the operator: the page's IMGEDIT_STUDIO_TOKEN is missing or wrong.",
    ),
    "advice.SCOPE_MISSING": (
        "관리자에게 알려 주세요: 페이지의 토큰에는 edit 와 list 권한이 필요합니다.",
        "Tell the operator: the page's token needs the scopes edit and list.",
    ),
    "advice.INTERNAL": (
        "요청 ID와 함께 관리자에게 알려 주세요.",
        "Tell the operator the request id.",
    ),
    # Login
    "login": ("로그인", "Log in"),
    "login.why": ("이 페이지를 쓰려면 로그인하세요.", "Log in to use this page."),
    "logout": ("로그아웃", "Log out"),
}
