"""A transformer with its per-forward state: LoRAs, kept keys, First Block Cache.

First Block Cache (https://github.com/chengzeyi/ParaAttention) skips all blocks but the first if the first block's
residual has hardly changed since the previous step. diffusers' hook keeps its memory per named context. Here each job
has its own contexts, other jobs run in a temporary context, and dropping one job keeps the others' memory. Belongs to
the worker thread.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks import HookRegistry

from imgedit.errors import InvalidArgument
from services.diffusion.engine import metrics
from services.diffusion.job_options import LoraUse
from services.diffusion.networks.kept_keys import KeyedForward, KeyKeeper
from services.diffusion.networks.lora import LoraRegistry

THROWAWAY = "uncached"


class Network:
    """Runs the transformer of a pipeline.

    step_cache_threshold: relative change of the first block's residual below which a step is skipped, 0 = no job may
    use the cache. keeper: of keys and values for region steps, None = no job may run them. service: the label of the
    metrics.
    """

    def __init__(
        self,
        pipeline: Any,
        loras: LoraRegistry,
        *,
        step_cache_threshold: float,
        service: str,
        keeper: KeyKeeper | None = None,
    ) -> None:
        self.loras = loras
        self._transformer = pipeline.transformer
        self.service = service
        self._keeper = keeper
        self._names = itertools.count()
        self._memory: dict[str, Any] | None = None
        self._skips: Counter[str] = Counter()
        if step_cache_threshold > 0:
            self._transformer.enable_cache(FirstBlockCacheConfig(threshold=step_cache_threshold))
            self._memory = block_memory(self._transformer)

    @property
    def keeps_keys(self) -> bool:
        """Whether jobs may run region steps."""
        return self._keeper is not None

    def check(self, lora: str | None, *, step_cache: bool, region_steps: bool) -> None:
        """Raise `InvalidArgument` for a LoRA, step cache or region steps that are off."""
        self.loras.check(lora)
        if step_cache and self._memory is None:
            raise InvalidArgument.field("profile", "its step cache is turned off on this server")
        if region_steps and self._keeper is None:
            raise InvalidArgument.field("region_steps", "is turned off on this server")

    def new_context(self) -> str:
        """A unique name for a job's step cache."""
        return f"job{next(self._names)}"

    def forward(
        self,
        *,
        lora: str | None,
        loras: Sequence[LoraUse],
        context: str | None,
        keys: KeyedForward | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """One forward under these LoRAs, the profile's and the request's.

        context: names the memory of its step cache, None = computed in full. keys: what it keeps or uses of keys and
        values, None = nothing.
        """
        self.loras.use(lora, loras)
        with self._remembering(context), nullcontext() if self._keeper is None else self._keeper.during(keys):
            output: torch.Tensor = self._transformer(**inputs, return_dict=False)[0]
        return output

    def forget(self, context: str) -> None:
        """Drop a job's memory: its context, and those named after it with a colon."""
        for names in (self._memory or {}, self._skips):
            _drop(names, context)

    def skipped(self, context: str) -> int:
        """How many of a job's forwards its step cache has answered."""
        return sum(count for name, count in self._skips.items() if _is_of(name, context))

    @contextmanager
    def _remembering(self, context: str | None) -> Iterator[None]:
        if self._memory is None:
            yield
            return
        name = context or THROWAWAY
        try:
            with self._transformer.cache_context(name):
                yield
            if not self._memory[name].should_compute:
                metrics.STEP_CACHE_SKIPS.labels(self.service).inc()
                self._skips[name] += 1
        except BaseException:
            _drop(self._memory, name.partition(":")[0])  # half a forward's values: a retry starts from scratch
            raise
        finally:
            self._memory.pop(THROWAWAY, None)


def _drop(names: dict[str, Any], context: str) -> None:
    for name in [name for name in names if _is_of(name, context)]:
        del names[name]


def _is_of(name: str, context: str) -> bool:
    return name == context or name.startswith(f"{context}:")


def block_memory(transformer: Any) -> dict[str, Any]:
    """The memory of diffusers' First Block Cache hook, by context.

    All blocks share it.
    """
    first = next(iter(transformer.transformer_blocks))
    hooks = HookRegistry.check_if_exists_or_initialize(first).hooks.values()
    memory: dict[str, Any] = next(hook.state_manager._state_cache for hook in hooks if hasattr(hook, "state_manager"))
    return memory
