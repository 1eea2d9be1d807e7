"""Turn exceptions of jobs and side tasks into errors for their callers.

Out-of-memory errors carry advice; tensors are released.
"""

import logging

from imgedit.errors import NumericFailure, OutOfMemory

ADVICE = (
    "The device ran out of memory. Send a smaller picture (2048 → 1024), or have the service run a smaller model "
    "(GGUF Q6_K or Q4_K instead of Q8_0) or offload."
)
ADVICE_KOREAN = (
    "GPU 메모리가 부족합니다. 이미지 크기를 줄이거나(2048 → 1024) "
    "더 작은 모델(Q8_0 대신 Q6_K, Q4_K)이나 오프로드 설정을 사용하세요."
)

log = logging.getLogger(__name__)


def describe(error: Exception, service: str, *, out_of_memory: bool) -> tuple[Exception, str]:
    """The caller's error and the outcome to count: out_of_memory or failed.

    Logs the failure.
    """
    if out_of_memory:
        log.warning("%s: out of memory: %s", service, without_frames(error))
        return OutOfMemory(ADVICE, korean=ADVICE_KOREAN), "out_of_memory"
    if isinstance(error, NumericFailure):
        log.error("%s: %s", service, error.message)
        return without_frames(error), "failed"
    log.exception("%s: a piece of work failed", service, exc_info=error)
    return without_frames(error), "failed"


def without_frames(error: Exception) -> Exception:
    """Drop the frames of the error and its causes, because they hold tensors."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
