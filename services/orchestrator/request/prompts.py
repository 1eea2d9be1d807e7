"""Which prompts have to be rewritten before a model reads them, and which no model can read.

Knows the languages of the models and of the PromptService by the settings, and tells a text's language by its script.
Does not rewrite anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imgedit.errors import FailedPrecondition, PromptLanguageUnsupported, ServiceUnavailable, Violation
from services.common import languages
from services.orchestrator.catalogue.experiments import Feature, FillStage, RewritePromptStage
from services.orchestrator.request.parameters import EditParameters

Mode = Literal["translate", "expand"]

ENGLISH = ("en",)
"""What the PromptService writes."""

MODELS = {"fill": "FLUX.1-Fill", "qwen_edit": "Qwen-Image-Edit"}


@dataclass(frozen=True)
class Rewriting:
    """What to do with the texts of one edit; None and False = the model reads them as they are.

    unread: the field that no model could read as it is, "" = none.
    """

    prompt: Mode | None = None
    negative_prompt: bool = False
    unread: str = ""

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.prompt is not None or self.negative_prompt


@dataclass(frozen=True)
class PromptRules:
    """Who reads what, as ISO 639-1 codes.

    read: by the kind of the stage that paints. rewritten: languages that the PromptService translates. has_service:
    whether there is one.
    """

    read: Mapping[str, tuple[str, ...]]
    rewritten: tuple[str, ...]
    has_service: bool

    def read_by(self, feature: Feature) -> tuple[str, ...]:
        """The languages that the model of the feature reads itself."""
        return self.read[feature.prompt_stage.kind] if feature.prompt_stage else ()

    def rewritten_for(self, feature: Feature) -> tuple[str, ...]:
        """The languages that are translated for the feature first."""
        if not self.has_service or feature.prompt_stage is None:
            return ()
        return tuple(language for language in self.rewritten if language not in self.read_by(feature))

    def rewriting_for(self, parameters: EditParameters, feature: Feature) -> Rewriting:
        """What to do with the prompts of an edit.

        Raises `PromptLanguageUnsupported` naming the field that the model cannot read and nobody can rewrite, and
        `FailedPrecondition` for a prompt to be written out where there is no PromptService.
        """
        stage = feature.prompt_stage
        if stage is None:
            return Rewriting()
        explicit = next((stage for stage in feature.stages if isinstance(stage, RewritePromptStage)), None)
        read = ENGLISH if explicit else self.read[stage.kind]
        texts = {"prompt": parameters.prompt, "negative_prompt": parameters.negative_prompt or ""}
        unread = [field for field, text in texts.items() if languages.foreign_letter(languages.unquoted(text), read)]
        for field, text in texts.items():
            if isinstance(stage, FillStage):
                _check_quoted(field, text, read)
            if field in unread:
                self._check_rewritable(field, text, MODELS[stage.kind], read)
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


def unreachable_service(rewriting: Rewriting, error: ServiceUnavailable) -> Exception:
    """What a PromptService that cannot be reached means: no model could read the prompt, or it stays as it is."""
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
    """Quoted text is kept as it is, so what the painting model has no letters for can never be painted."""
    # Said by its place: errors are logged, prompts are not.
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
