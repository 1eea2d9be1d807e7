"""The engine's interface to a model: a job as pure functions over its components.

The engine calls `workload` and `unchanged` on the caller's thread (they only read the request) and everything else on
its worker thread, one call at a time. An adapter owns torch; this module and the engine do not import it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.diffusion.engine.region_steps import RegionSteps

SpecT = TypeVar("SpecT", contravariant=True)
StateT = TypeVar("StateT")
OutputT = TypeVar("OutputT", covariant=True)


@dataclass(frozen=True)
class Part:
    """Weights that a job needs beside the model, such as a LoRA.

    Jobs share those of equal keys.
    """

    key: Hashable
    nbytes: int


@dataclass(frozen=True)
class Workload:
    """The work of a request, known before anything is computed.

    steps: denoise steps to run; 0 = the answer is the input. tokens: sequence length of one transformer pass.
    passes: transformer passes per step, in one forward or in turn (2 with a negative prompt). nbytes: memory that the
    waiting request holds. batch_key: jobs with equal keys can share a forward; None = this one always runs alone.
    region: which of the steps compute a part of the tokens alone; None = every step computes all of them. parts:
    weights that stay loaded while the job runs.
    """

    steps: int
    tokens: int
    passes: int
    nbytes: int
    batch_key: Hashable | None
    region: RegionSteps | None = None
    parts: frozenset[Part] = frozenset()

    def is_full(self, step: int) -> bool:
        """Whether this step, counted from 0, computes every token."""
        return self.region is None or self.region.full[step]

    def full_steps(self, begin: int, end: int) -> int:
        """How many of the steps from `begin` up to `end` compute every token."""
        return sum(self.is_full(step) for step in range(begin, end))

    def step_tokens(self, *, full: bool) -> int:
        """The work of a step in tokens."""
        return self.tokens if full or self.region is None else self.region.tokens

    @property
    def kept_bytes(self) -> int:
        """Device memory that the job keeps between its steps for region steps."""
        return 0 if self.region is None else self.region.kept_bytes


class Adapter(Protocol[SpecT, StateT, OutputT]):
    """One model's jobs: prepare → denoise × steps → decode.

    A state belongs to one job and holds everything that the job needs. `denoise` changes a state only when it succeeds,
    so that the jobs of a failed batch can be retried one by one. A failure may lose the keys that a full step keeps for
    region steps; the retried step is full.
    """

    @property
    def name(self) -> str:
        """The model's name, as reported to callers."""

    @property
    def revision(self) -> str:
        """The loaded weights: twelve hex digits."""

    def workload(self, spec: SpecT) -> Workload:
        """Check the request and estimate its work.

        Raises `imgedit.errors.InvalidArgument` that names the field.
        """

    def unchanged(self, spec: SpecT) -> OutputT:
        """The result of a request without steps: the input's pixels."""

    def prepare(self, spec: SpecT) -> StateT:
        """Encode prompt and images, draw the noise; everything before the first step."""

    def denoise(self, states: Sequence[StateT]) -> None:
        """One forward that advances every state by one step.

        They share a batch key; their progress may differ, but all of their steps are full, or all are region steps.
        """

    def decode(self, state: StateT) -> OutputT:
        """The finished image."""

    def latents(self, state: StateT) -> NDArray[np.float32]:
        """The current latents on the CPU, (h, w, C), one per 8×8 pixels; for previews."""

    def latent_rgb(self) -> NDArray[np.float32]:
        """(C + 1, 3): the linear map from latents (and a constant 1) to RGB in [0, 1].

        For previews.
        """

    def skipped(self, state: StateT) -> int:
        """This job's forwards that a step cache has answered; 0 without one."""

    def release(self, state: StateT) -> None:
        """Drop all data kept for this job outside its state.

        Called once, however the job ended.
        """

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether this exception means that device or host memory ran out."""

    def device_works(self) -> bool:
        """Whether the device still responds.

        Called after an unexpected exception that is not about memory.
        """

    def free_memory(self) -> None:
        """Release cached device memory after an out-of-memory failure."""

    def peak_memory(self) -> int:
        """Peak device memory of the process in bytes; 0 if the device does not count."""
