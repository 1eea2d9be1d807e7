"""Prometheus metrics of the orchestrator. The labels come from the catalogue and from closed sets."""

from prometheus_client import Counter, Histogram

from services.common.metrics import REQUEST_BUCKETS

EDIT_SECONDS = Histogram(
    "imgedit_edit_duration_seconds",
    "Wall-clock time of an edit, from its arrival to its answer.",
    ["experiment", "feature", "code"],
    buckets=REQUEST_BUCKETS,
)
STAGE_SECONDS = Histogram(
    "imgedit_stage_duration_seconds",
    "Wall-clock time of one stage of an edit.",
    ["stage"],
    buckets=REQUEST_BUCKETS,
)
IMAGE_PIXELS = Histogram(
    "imgedit_image_pixels",
    "Pixels of the pictures to edit.",
    buckets=(65_536, 262_144, 1_048_576, 2_097_152, 4_194_304, 12_000_000, 25_000_000),
)
CUTOUT_FAILURES = Counter("imgedit_cutout_failures_total", "Edits answered without a cut-out, since it failed.")
POLICY_VERDICTS = Counter(
    "imgedit_policy_verdicts_total",
    "What the content policy decided; failed = it could not judge, and the edit was refused.",
    ["subject", "decision"],
)
DECODERS_LOST = Counter(
    "imgedit_decoders_lost_total", "Decoder processes that ended, by a picture beyond the limits or from outside."
)
STAGE_RERUNS = Counter(
    "imgedit_stage_reruns_total", "Stages that were run again because their service was lost.", ["stage"]
)
