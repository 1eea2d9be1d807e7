"""Which prompts are rewritten for which model, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from imgedit.errors import FailedPrecondition, PromptLanguageUnsupported, ServiceUnavailable, SettingsError
from imgedit.v1 import edit_pb2
from services.common import settings as common_settings
from services.orchestrator.__main__ import prompt_rules
from services.orchestrator.catalogue import models
from services.orchestrator.catalogue.models import SHIPPED, Feature
from services.orchestrator.request import parameters, prompts
from services.orchestrator.request.prompts import PromptRules, Rewriting
from services.orchestrator.settings import OrchestratorSettings

CATALOGUE = models.load(SHIPPED)
FILL = CATALOGUE.find("ben2_flux_fill", "inpainting")[1]
QWEN = CATALOGUE.find("ben2_qwen_image", "text_editing")[1]
RULES = prompt_rules(OrchestratorSettings())
ALONE = prompt_rules(OrchestratorSettings(prompt=""))


def planned(feature: Feature, rules: PromptRules = RULES, **fields: Any) -> Rewriting:
    request = edit_pb2.EditRequest(**{"prompt": "a gym", **fields})
    return rules.plan(parameters.resolve(request, feature), feature)


def refused(feature: Feature, rules: PromptRules = RULES, **fields: Any) -> PromptLanguageUnsupported:
    with pytest.raises(PromptLanguageUnsupported) as caught:
        planned(feature, rules, **fields)
    return caught.value


@pytest.mark.parametrize("prompt", ["a café in Zürich", "size 10 № 5 – “quoted”", "ﬁne ligature, 1º", "👍 gym", "12"])
@pytest.mark.parametrize("feature", [FILL, QWEN])
def test_latin_text_with_marks_and_signs_is_read_as_it_is(feature: Feature, prompt: str) -> None:
    assert not planned(feature, prompt=prompt).is_needed
    assert not planned(feature, ALONE, prompt=prompt, negative_prompt=prompt).is_needed


@pytest.mark.parametrize("prompt", ["배경을 체육관으로", "a gym 체육관", "背景をジムに", "把背景换成", "спортзал"])
def test_what_flux_cannot_read_is_translated(prompt: str) -> None:
    assert planned(FILL, prompt=prompt) == Rewriting("translate", unread="prompt")
    assert planned(FILL, negative_prompt=prompt) == Rewriting(negative_prompt=True, unread="negative_prompt")


def test_qwen_reads_korean_and_chinese_and_the_rest_is_translated() -> None:
    for prompt in ("배경을 체육관으로", "把背景换成", "간판을 'Привет'로"):
        assert not planned(QWEN, prompt=prompt).is_needed
    for prompt in ("背景をジムに", "спортзал"):
        assert planned(QWEN, prompt=prompt).prompt == "translate"


def test_writing_out_is_asked_for_and_includes_the_translation() -> None:
    assert planned(QWEN, prompt="a gym", expand_prompt=True) == Rewriting("expand")
    assert planned(FILL, prompt="체육관", expand_prompt=True) == Rewriting("expand", unread="prompt")


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(("text", "script"), [("배경을 체육관으로", "Hangul"), ("背景をジムに", "Cjk")])
def test_without_a_service_that_rewrites_the_language_is_refused(field: str, text: str, script: str) -> None:
    error = refused(FILL, ALONE, **{field: text})
    assert [violation.field for violation in error.violations] == [field]
    for part in (script, "English", "qwen_edit"):
        assert part in error.message
    assert error.korean


def test_without_a_service_nothing_is_written_out() -> None:
    with pytest.raises(FailedPrecondition, match="expand_prompt"):
        planned(QWEN, ALONE, expand_prompt=True)


def test_a_language_that_nobody_translates_is_refused() -> None:
    error = refused(FILL, prompt="გამარჯობა")
    assert "Georgian" in error.message


@pytest.mark.parametrize(
    ("prompt", "place"), [("a sign with '체육관'", 1), ("벽에 'GYM'과 '체육관' 쓰기", 2), ("「ジム」", 1)]
)
def test_quoted_text_that_flux_cannot_paint_is_refused_by_its_place(prompt: str, place: int) -> None:
    error = refused(FILL, prompt=prompt)
    assert f"(quotation {place})" in error.message
    assert "체육관" not in error.message, "errors are logged, prompts are not"


def test_quoted_text_is_no_matter_to_qwen() -> None:
    assert not planned(QWEN, prompt="벽에 'ジム' 쓰기").is_needed


def test_a_stage_in_the_chain_makes_every_prompt_english() -> None:
    stages = [{"rewrite_prompt": None}, *(stage.model_dump() for stage in QWEN.stages)]
    values = QWEN.model_dump(exclude={"stages"}) | {"stages": [_written(stage) for stage in stages]}
    english = Feature.model_validate(values)
    assert planned(english, prompt="배경 변경").prompt == "translate"
    assert not planned(english, prompt="a gym").is_needed
    expanding = Feature.model_validate(
        values | {"stages": [{"rewrite_prompt": {"expand": True}}, *values["stages"][1:]]}
    )
    assert planned(expanding, prompt="a gym").prompt == "expand"


def _written(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage as written in YAML."""
    if len(stage) == 1 and "kind" not in stage:
        return stage
    return {stage["kind"]: {key: value for key, value in stage.items() if key != "kind" and value is not None}}


def test_a_feature_tells_who_reads_and_who_translates() -> None:
    assert RULES.read_by(FILL) == ("en",)
    assert RULES.rewritten_for(FILL) == ("ko", "ja", "zh", "ru", "ar", "th")
    assert RULES.read_by(QWEN) == ("ko", "en", "zh")
    assert RULES.rewritten_for(QWEN) == ("ja", "ru", "ar", "th")
    assert ALONE.rewritten_for(FILL) == ()


def test_a_service_that_cannot_be_reached_matters_only_to_what_is_unread() -> None:
    lost = ServiceUnavailable("gone")
    assert prompts.unreachable(Rewriting("expand"), lost) is lost
    error = prompts.unreachable(Rewriting("translate", unread="prompt"), lost)
    assert isinstance(error, PromptLanguageUnsupported)
    assert error.metadata["stage"] == "rewrite_prompt"


def test_a_language_that_is_not_known_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGEDIT_ORCHESTRATOR_FILL_LANGUAGES", "en,xx")
    with pytest.raises(SettingsError, match=r"FILL_LANGUAGES.*'xx' is not"):
        common_settings.load(OrchestratorSettings)
