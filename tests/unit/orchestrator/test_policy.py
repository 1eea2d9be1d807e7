"""The content policy: allow, flag, refuse, and what happens when it fails."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_client import REGISTRY

from imgedit.errors import ContentRefused, InternalError, SettingsError
from services.common.call_context import caller
from services.orchestrator import policy
from services.orchestrator.policy import ALLOW, Judge, Policy, Review, Verdict

PROMPT = policy.review("e", "f", "a secret prompt", None)


def counted(subject: str, decision: str) -> float:
    labels = {"subject": subject, "decision": decision}
    return REGISTRY.get_sample_value("imgedit_policy_verdicts_total", labels) or 0


def plain(verdict: object) -> Judge:
    return lambda review: verdict  # type: ignore[return-value]


def coroutine(verdict: object) -> Judge:
    async def judge(review: Review) -> Verdict:
        await asyncio.sleep(0)
        return verdict  # type: ignore[return-value]

    return judge


class Callable:
    """A callable object whose call is a coroutine."""

    def __init__(self, verdict: object) -> None:
        self._verdict = verdict

    async def __call__(self, review: Review) -> Verdict:
        return self._verdict  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [plain, coroutine, Callable])
async def test_a_verdict_decides_whatever_kind_of_callable_gives_it(
    kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    before = counted("prompt", "flag")
    await Policy(kind(ALLOW)).check(PROMPT)
    assert not caplog.records
    await Policy(kind(Verdict("flag", "looks odd"))).check(PROMPT)
    [record] = caplog.records
    assert (record.__dict__["subject"], record.__dict__["caller"]) == ("prompt", "anonymous")
    assert "looks odd" in caplog.text
    assert counted("prompt", "flag") == before + 1
    with pytest.raises(ContentRefused, match="not here") as caught:
        await Policy(kind(Verdict("refuse", "not here", "여기서는 안 됩니다"))).check(PROMPT)
    assert caught.value.korean == "여기서는 안 됩니다"
    assert "secret prompt" not in caplog.text


async def test_a_refusal_without_words_says_what_was_refused() -> None:
    with pytest.raises(ContentRefused, match="refuses the prompt"):
        await Policy(plain(Verdict("refuse"))).check(PROMPT)


def crash(review: Review) -> Verdict:
    raise KeyError(review.prompt)


@pytest.mark.parametrize("judge", [crash, plain(None), plain(True), plain("allow"), plain(Verdict("maybe"))])  # type: ignore[arg-type]
async def test_a_policy_that_cannot_judge_lets_nothing_through(judge: Judge, caplog: pytest.LogCaptureFixture) -> None:
    before = counted("prompt", "failed")
    with pytest.raises(InternalError, match="could not judge the prompt"):
        await Policy(judge).check(PROMPT)
    assert counted("prompt", "failed") == before + 1
    assert "the policy failed" in caplog.text
    assert "secret prompt" not in caplog.text
    assert "secret prompt" not in str([record.__dict__ for record in caplog.records])


async def test_a_slow_plain_function_does_not_hold_up_the_event_loop() -> None:
    released = threading.Event()

    def slow(review: Review) -> Verdict:
        assert released.wait(30)
        return ALLOW

    checking = asyncio.create_task(Policy(slow).check(PROMPT))
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not checking.done()
    released.set()
    await checking


async def test_the_policy_is_told_who_asks_for_what_and_cannot_touch_the_picture() -> None:
    seen: list[Review] = []

    def look(review: Review) -> Verdict:
        seen.append(review)
        assert review.picture is not None
        review.picture[0, 0] = 255
        return ALLOW

    caller.set("studio")
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InternalError, match="the result"):
        await Policy(look).check(policy.review("e", "f", "p", "n", picture))
    [review] = seen
    assert (review.caller, review.experiment, review.feature, review.prompt, review.negative_prompt) == (
        *("studio", "e", "f", "p"),
        "n",
    )
    assert review.subject == "result"
    assert not picture.any()
    picture[0, 0] = 1  # the edit's own array stays writable


@pytest.fixture
def house_rules() -> Iterator[None]:
    module = types.ModuleType("house_rules")
    module.judge = plain(Verdict("refuse", "house rule"))  # type: ignore[attr-defined]
    module.number = 1  # type: ignore[attr-defined]
    sys.modules["house_rules"] = module
    yield
    del sys.modules["house_rules"]


@pytest.mark.usefixtures("house_rules")
async def test_a_policy_is_named_by_module_and_function() -> None:
    with pytest.raises(ContentRefused, match="house rule"):
        await policy.load("house_rules:judge").check(PROMPT)


@pytest.mark.usefixtures("house_rules")
@pytest.mark.parametrize(
    "name", ["house_rules", "house_rules:none", "no_such.module:judge", ":judge", "house_rules:number"]
)
def test_a_name_that_leads_nowhere_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match="content policy"):
        policy.load(name)


def test_the_example_in_the_module_is_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    example = (policy.__doc__ or "").split("judge\n", 1)[1]
    scope: dict[str, object] = {}
    exec("\n".join(line[4:] for line in example.splitlines()), scope)
    judge = scope["judge"]
    assert callable(judge)
    assert judge(PROMPT) == ALLOW
    assert judge(policy.review("e", "f", "edit my passport", None)).decision == "refuse"
