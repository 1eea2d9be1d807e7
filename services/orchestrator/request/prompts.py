"""Decide which prompts need rewriting, and which no model can read.

The script of a text tells its language; the settings list the languages of models and PromptService.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imgedit.errors import FailedPrecondition, PromptLanguageUnsupported, ServiceUnavailable, Violation
from services.common import languages
from services.orchestrator.catalogue.models import Feature, FillStage, RewritePromptStage
from services.orchestrator.request.parameters import EditParameters

Mode = Literal["translate", "expand"]

ENGLISH = ("en",)
"""The PromptService's output language."""

MODELS = {"fill": "FLUX.1-Fill", "qwen_edit": "Qwen-Image-Edit"}


@dataclass(frozen=True)
class Rewriting:
    """How to rewrite the texts of one edit.

    None and False = unchanged. unread: the field that no model can read unchanged, "" = none.
    """

    prompt: Mode | None = None
    negative_prompt: bool = False
    unread: str = ""

    @property
    def is_needed(self) -> bool:
        """Whether any text needs rewriting."""
        return self.prompt is not None or self.negative_prompt


@dataclass(frozen=True)
class PromptRules:
    """Language support, as ISO 639-1 codes.

    read: by the kind of the painting stage. rewritten: languages that the PromptService translates. has_service:
    whether there is one.
    """

    read: Mapping[str, tuple[str, ...]]
    rewritten: tuple[str, ...]
    has_service: bool

    def read_by(self, feature: Feature) -> tuple[str, ...]:
        """The languages that the model of the feature reads itself."""
        return self.read[feature.prompt_stage.kind] if feature.prompt_stage else ()

    def rewritten_for(self, feature: Feature) -> tuple[str, ...]:
        """The languages that are translated for the feature."""
        if not self.has_service or feature.prompt_stage is None:
            return ()
        return tuple(language for language in self.rewritten if language not in self.read_by(feature))

    def plan(self, parameters: EditParameters, feature: Feature) -> Rewriting:
        """How to rewrite the prompts of an edit.

        Raises `PromptLanguageUnsupported` for a field that cannot be read or rewritten, and `FailedPrecondition` for
        prompt expansion without a PromptService.
        """
        painter = feature.prompt_stage
        if painter is None:
            return Rewriting()
        explicit = next((stage for stage in feature.stages if isinstance(stage, RewritePromptStage)), None)
        read = ENGLISH if explicit else self.read[painter.kind]
        texts = {"prompt": parameters.prompt, "negative_prompt": parameters.negative_prompt or ""}
        unread = [field for field, text in texts.items() if languages.foreign_letter(languages.unquoted(text), read)]
        for field, text in texts.items():
            if isinstance(painter, FillStage):
                _check_quoted(field, text, read)
            if field in unread:
                self._check_rewritable(field, text, MODELS[painter.kind], read)
        expand = parameters.expand_prompt or (explicit is not None and explicit.expand)
        if expand and not self.has_service:
            raise FailedPrecondition(
                "expand_prompt: no service that rewrites prompts is configured; write the prompt out yourself, or have "
                "qwen_edit started and IMGEDIT_ORCHESTRATOR_PROMPT set",
                korean="프롬프트를 다듬는 서비스가 설정되어 있지 않습니다. 프롬프트를 직접 구체적으로 작성하세요.",
            )
        translate: Mode | None = "translate" if "prompt" in unread else None
        return Rewriting("expand" if expand else translate, "negative_prompt" in unread, next(iter(unread), ""))

    def _check_rewritable(self, field: str, text: str, model: str, read: Sequence[str]) -> None:
        language = languages.language_of(text)
        if self.has_service and language in self.rewritten:
            return
        letter = languages.foreign_letter(languages.unquoted(text), read)
        remedy = (
            f"only prompts in {', '.join(self.rewritten)} are translated; write it in English"
            if self.has_service
            else "write it in English, or have the qwen_edit service started, which translates prompts "
            "(IMGEDIT_ORCHESTRATOR_PROMPT)"
        )
        raise _unsupported(field, f"{_reader(model, read)}, and this holds {_named(letter)}; {remedy}", read)


def unreachable(rewriting: Rewriting, error: ServiceUnavailable) -> Exception:
    """The consequence of an unreachable PromptService.

    An error if no model can read the prompt; else the prompt stays unchanged.
    """
    if not rewriting.unread:
        return error
    failure = _unsupported(
        rewriting.unread,
        "the model does not read its language, and the service that translates prompts cannot be reached; write it in "
        f"English, or start the service: {error.message}",
        ENGLISH,
    )
    failure.metadata["stage"] = "rewrite_prompt"
    return failure


def _check_quoted(field: str, text: str, read: Sequence[str]) -> None:
    """Reject quoted text that the model cannot paint: quotes are never translated."""
    # Named by position: errors are logged, prompts are not.
    for place, quoted in enumerate(languages.quoted(text), start=1):
        if letter := languages.foreign_letter(quoted, read):
            raise _unsupported(
                field,
                f"{_reader('FLUX.1-Fill', read)}, and quoted text, which is not translated, holds {_named(letter)} "
                f"(quotation {place}): it cannot paint that; leave the quotation marks out, quote English, or use the "
                "experiment ben2_qwen_image",
                read,
            )


def _reader(model: str, read: Sequence[str]) -> str:
    return f"{model} reads {'English only' if tuple(read) == ENGLISH else ', '.join(read)}"


def _named(letter: str) -> str:
    return f"{languages.script_of(letter).capitalize()} ({letter!r})"


def _unsupported(field: str, description: str, read: Sequence[str]) -> PromptLanguageUnsupported:
    return PromptLanguageUnsupported(
        f"{field}: {description}",
        korean="이 모델은 이 언어의 프롬프트를 읽지 못합니다. 영어로 작성하거나(예: 'a bright modern gym'), "
        "프롬프트를 번역하는 qwen_edit 서비스를 시작하세요. 따옴표 안의 글자는 번역되지 않습니다.",
        violations=[Violation(field, description)],
        metadata={"languages": ",".join(read)},
    )
