"""Requests to either diffusion service: the fields that both have, checked."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from imgedit.errors import FailedPrecondition, InvalidArgument
from imgedit.inference.v1 import fill_pb2, qwen_edit_pb2
from imgedit.v1 import profile_pb2
from services.common import checks
from services.common.checks import Scales, read_loras
from services.common.settings import DiffusionSettings
from services.diffusion.job_options import JobOptions, LoraUse

DEFAULT_STEPS = 28
DEFAULT_STRENGTH = 1.0
MAX_STEPS = 100

FAST_LORA = "fast"
"""The name under which a service holds the LoRA of profile FAST."""


@dataclass(frozen=True)
class Profiles:
    """Abilities of this service's profiles.

    has_fast_lora: whether there is a LoRA for FAST. has_step_cache: for BALANCED. has_region_steps: for both.
    """

    has_fast_lora: bool
    has_step_cache: bool
    has_region_steps: bool

    @classmethod
    def from_settings(cls, settings: DiffusionSettings) -> Profiles:
        """As the settings say."""
        return cls(bool(settings.lora_fast), settings.step_cache_threshold > 0, settings.region_steps)

    def lora(self, profile: int) -> str | None:
        """The name of the LoRA to use. Raises `FailedPrecondition` for FAST without one."""
        if profile != profile_pb2.PROFILE_FAST:
            return None
        if not self.has_fast_lora:
            raise FailedPrecondition(
                "profile: this service has no few-step LoRA for the profile fast; set ..._LORA_FAST, or use balanced",
                korean="빠른 프로필용 LoRA가 설치되어 있지 않습니다. balanced 프로필을 사용하세요.",
            )
        return FAST_LORA

    def step_cache(self, profile: int) -> bool:
        """Whether steps may be skipped."""
        return self.has_step_cache and profile in (profile_pb2.PROFILE_UNSPECIFIED, profile_pb2.PROFILE_BALANCED)

    def region_steps(self, profile: int, asked: bool | None) -> bool:
        """Whether most steps compute only a part of the tokens.

        asked: the request's value, None = unset. Raises `FailedPrecondition` if requested while turned off, and
        `InvalidArgument` with HIGH.
        """
        if profile == profile_pb2.PROFILE_HIGH:
            if asked:
                raise InvalidArgument.field("region_steps", "does not go with the profile high; leave it out")
            return False
        if asked and not self.has_region_steps:
            raise FailedPrecondition(
                "region_steps: this service has none; set ..._REGION_STEPS=true, or leave it out",
                korean="이 서버에서는 부분 계산(region_steps)이 꺼져 있습니다.",
            )
        return self.has_region_steps if asked is None else asked


def draw_seed() -> int:
    """A seed for a caller who sent none: 0 to 2³² − 1."""
    return secrets.randbits(32)


Request = fill_pb2.FillRequest | qwen_edit_pb2.QwenEditRequest

ChooseLoras = Callable[[Scales], tuple[LoraUse, ...]]
"""From the names and strengths of a request to the LoRAs of its job; raises `InvalidArgument`."""


def read_job_options(request: Request, profiles: Profiles, choose_loras: ChooseLoras) -> JobOptions:
    """Check and read the shared options; each model checks its prompts itself.

    Raises `InvalidArgument` naming the field, and `FailedPrecondition` for what this service is not set up for.
    """
    steps = request.steps if request.HasField("steps") else DEFAULT_STEPS
    strength = request.strength if request.HasField("strength") else DEFAULT_STRENGTH
    checks.number("steps", steps, 1, MAX_STEPS)
    checks.number("strength", strength, 0, 1)
    checks.number("preview_every", request.preview_every, 0, MAX_STEPS)
    asked = request.region_steps if request.HasField("region_steps") else None
    return JobOptions(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt if request.HasField("negative_prompt") else None,
        steps=steps,
        strength=strength,
        seed=request.seed if request.HasField("seed") else draw_seed(),
        lora=profiles.lora(request.profile),
        loras=choose_loras(read_loras(request.loras)) if request.loras else (),
        step_cache=profiles.step_cache(request.profile),
        region_steps=profiles.region_steps(request.profile, asked),
    )
