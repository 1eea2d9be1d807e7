"""Prometheus metrics of the engine; the label `service` is the engine's name.

Queue depth and wait are `services.common.metrics`'s, which every service has.
"""

from prometheus_client import Counter, Gauge, Histogram

from services.common.metrics import QUEUE_DEPTH, QUEUE_WAIT_SECONDS

SHORT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
"""Seconds. A step takes more than ten if its weights are reread every time."""

QUEUE_BYTES = Gauge("imgedit_engine_queue_bytes", "Bytes held by the jobs in the engine.", ["service"])
STEP = Histogram("imgedit_engine_step_seconds", "One denoise forward.", ["service"], buckets=SHORT)
PREPARE = Histogram("imgedit_engine_prepare_seconds", "Encoding prompt and images.", ["service"], buckets=SHORT)
DECODE = Histogram("imgedit_engine_decode_seconds", "Decoding the latents.", ["service"], buckets=SHORT)
BATCH_SIZE = Histogram("imgedit_engine_batch_jobs", "Jobs in one forward.", ["service"], buckets=(1, 2, 3, 4, 6, 8, 16))
SIDE_TASKS = Counter("imgedit_engine_errands", "Side tasks that left the engine.", ["service", "outcome"])
SIDE_TASK_WAIT = Histogram(
    "imgedit_engine_errand_wait_seconds", "A side task's wait for the device.", ["service"], buckets=SHORT
)
SIDE_TASK = Histogram("imgedit_engine_errand_seconds", "A side task's time on the device.", ["service"], buckets=SHORT)
JOBS = Counter("imgedit_engine_jobs", "Jobs that left the engine.", ["service", "outcome"])
STEPS_SAVED = Counter(
    "imgedit_engine_steps_saved", "Denoise steps not run because the job was cancelled or too late.", ["service"]
)
OUT_OF_MEMORY = Counter("imgedit_engine_out_of_memory", "Quanta that ran out of memory.", ["service"])
NOT_FINITE = Counter(
    "imgedit_engine_not_finite", "Results that held NaN or infinity, by where they arose.", ["service", "part"]
)
COST_ERROR = Histogram(
    "imgedit_engine_cost_error_ratio",
    "Relative error of the cost model: |predicted - measured| / measured, per step.",
    ["service"],
    buckets=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2),
)
CACHE = Counter("imgedit_engine_cache_lookups", "Conditioning cache lookups.", ["service", "kind", "result"])
CACHE_BYTES = Gauge("imgedit_engine_cache_bytes", "Bytes held by the conditioning cache.", ["service"])
STEP_CACHE_SKIPS = Counter(
    "imgedit_engine_step_cache_skips", "Forwards that the step cache answered after the first block.", ["service"]
)
REGION_STEPS = Counter(
    "imgedit_engine_region_steps", "Denoise steps of a job that computed its region alone.", ["service"]
)
KEPT_BYTES = Gauge(
    "imgedit_engine_kept_bytes", "Keys and values that the jobs under way may keep for region steps.", ["service"]
)
LORA_BYTES = Gauge("imgedit_engine_lora_bytes", "Bytes of the loaded LoRAs that requests named.", ["service"])
LORA_LOADS = Counter("imgedit_engine_lora_loads", "LoRAs that were loaded for a request.", ["service"])
PEAK_MEMORY = Gauge("imgedit_engine_peak_memory_bytes", "Most device memory used at once.", ["service"])

OUTCOMES = ("finished", "failed", "cancelled", "deadline", "refused_deadline", "refused_full", "out_of_memory")
PARTS = ("prompt", "image", "denoise", "decode", "rewrite")
SIDE_TASK_OUTCOMES = ("finished", "failed", "cancelled", "deadline", "refused_full", "out_of_memory")


def declare(service: str) -> None:
    """Create every series of one service, so that rates start at zero."""
    for outcome in OUTCOMES:
        JOBS.labels(service, outcome)
    for outcome in SIDE_TASK_OUTCOMES:
        SIDE_TASKS.labels(service, outcome)
    for part in PARTS:
        NOT_FINITE.labels(service, part)
    for metric in (
        QUEUE_DEPTH,
        QUEUE_WAIT_SECONDS,
        QUEUE_BYTES,
        STEP,
        PREPARE,
        DECODE,
        BATCH_SIZE,
        STEPS_SAVED,
        OUT_OF_MEMORY,
    ):
        metric.labels(service)
    for metric in (
        SIDE_TASK_WAIT,
        SIDE_TASK,
        COST_ERROR,
        CACHE_BYTES,
        STEP_CACHE_SKIPS,
        REGION_STEPS,
        KEPT_BYTES,
        LORA_BYTES,
        LORA_LOADS,
        PEAK_MEMORY,
    ):
        metric.labels(service)
