"""Engine events as stream messages, for FillService and QwenEditService."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgedit.errors import FailedPrecondition, InternalError, InvalidArgument
from imgedit.inference.v1 import steps_pb2
from imgedit.v1 import profile_pb2, progress_pb2
from services.common.settings import DiffusionSettings
from services.diffusion.engine.events import Event, Finished, Preview, Progress, Queued

EventT = TypeVar("EventT", covariant=True)
Output = NDArray[np.uint8]

MAX_STEPS = 100

FAST_LORA = "fast"
"""The name under which a service holds the LoRA of profile FAST."""


class MakeEvent(Protocol[EventT]):
    """FillEvent or QwenEditEvent: the same shape with different results."""

    def __call__(
        self,
        *,
        queued: progress_pb2.Queued | None = None,
        progress: steps_pb2.Progress | None = None,
        preview: progress_pb2.Preview | None = None,
    ) -> EventT:
        """Create the message with this one field set."""


async def relay(
    events: AsyncIterator[Event[Output]],
    make_event: MakeEvent[EventT],
    make_result: Callable[[Finished[Output]], EventT],
) -> AsyncIterator[EventT]:
    """The engine's events as messages, in order; the last is the result."""
    async for event in events:
        match event:
            case Queued(position, eta):
                yield make_event(queued=progress_pb2.Queued(position=position, eta_seconds=eta))
            case Progress(step, steps, eta):
                yield make_event(progress=steps_pb2.Progress(step=step, steps=steps, eta_seconds=eta))
            case Preview(jpeg):
                yield make_event(preview=progress_pb2.Preview(image=jpeg))
            case Finished():
                yield make_result(event)
                return
    raise InternalError("the engine ended without a result")


def timings(finished: Finished[Output]) -> list[progress_pb2.Timing]:
    """The seconds of the engine's phases."""
    return [progress_pb2.Timing(name=name, seconds=seconds) for name, seconds in finished.timings.items()]


@dataclass(frozen=True)
class Profiles:
    """What the profiles of this service can do.

    has_fast_lora: whether there is a LoRA for FAST. has_step_cache: for BALANCED. has_region_steps: for both.
    """

    has_fast_lora: bool
    has_step_cache: bool
    has_region_steps: bool

    @classmethod
    def of(cls, settings: DiffusionSettings) -> Profiles:
        """As the settings say."""
        return cls(bool(settings.lora_fast), settings.step_cache_threshold > 0, settings.region_steps)

    def lora(self, profile: int) -> str | None:
        """The name of the LoRA to use.

        Raises `FailedPrecondition` for FAST without one.
        """
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
        """Whether most steps compute a part of the tokens alone. asked: by the request, None = it does not say.

        Raises `FailedPrecondition` where that is asked for and turned off, `InvalidArgument` with HIGH.
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
    """A random seed: 0 to 2³² − 1."""
    return secrets.randbits(32)
