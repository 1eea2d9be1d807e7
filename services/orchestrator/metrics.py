"""Prometheus metrics of the orchestrator.

The labels come from the catalogue and from closed sets.
"""

from prometheus_client import Counter, Gauge, Histogram

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
    "Decisions of the content policy; failed = no verdict, and the edit was refused.",
    ["subject", "decision"],
)
DECODERS_LOST = Counter(
    "imgedit_decoders_lost_total", "Decoder processes that ended, by a picture beyond the limits or from outside."
)
STAGE_RERUNS = Counter(
    "imgedit_stage_reruns_total", "Stages that were run again because their service was lost.", ["stage"]
)
EDITS_IN_FLIGHT = Gauge("imgedit_edits_in_flight", "Edits that run now, however many calls wait for each.")
EDIT_BYTES = Gauge("imgedit_edit_bytes", "Bytes that the requests and edits of now take, by estimate.")
EDITS_REFUSED = Counter(
    "imgedit_edits_refused_total",
    "Edits over a limit: of one caller or of all, in edits or in bytes.",
    ["whose", "limit"],
)
EDITS_CANCELLED = Counter("imgedit_edits_cancelled_total", "Edits that were cancelled while they ran.", ["cause"])
EDITS_SHARED = Counter(
    "imgedit_edits_shared_total",
    "Requests that were answered by an edit that ran already, or by a kept answer.",
    ["source"],
)
CACHED_RESPONSE_BYTES = Gauge("imgedit_kept_answer_bytes", "Bytes of the answers that are kept for their request ids.")
ANSWER_STORE_LOST = Gauge(
    "imgedit_answer_store_lost", "1 while the answer store does not answer; 0 = it does, or none is set."
)
ANSWER_STORE_ERRORS = Counter(
    "imgedit_answer_store_errors_total",
    "Calls of the answer store that failed, and records in it that cannot be read.",
    ["kind"],
)
ANSWER_STORE_BYTES = Gauge(
    "imgedit_answer_store_bytes", "Bytes in the answer store, when this server last wrote to it."
)
CATALOGUE_RELOADS = Counter(
    "imgedit_catalogue_reloads_total",
    "Readings of the experiment catalogue on SIGHUP; failed = it has faults, and the one before stays in force.",
    ["outcome"],
)
CATALOGUE_READ = Gauge(
    "imgedit_catalogue_read_timestamp_seconds", "When the catalogue in force was read, as Unix time."
)
WEBHOOKS = Counter(
    "imgedit_webhooks_total",
    "Webhooks that ended: delivered, refused by the receiver, failed in all tries, or dropped.",
    ["outcome"],
)
WEBHOOK_RETRIES = Counter("imgedit_webhook_retries_total", "Further tries of webhooks.")
WEBHOOKS_IN_FLIGHT = Gauge("imgedit_webhooks_in_flight", "Webhooks that are sent now or wait for their next try.")

# Create every series at the start, so that rates begin at zero.
for _outcome in ("done", "failed"):
    CATALOGUE_RELOADS.labels(_outcome)
for _subject in ("prompt", "result"):
    for _decision in ("allow", "flag", "refuse", "failed"):
        POLICY_VERDICTS.labels(_subject, _decision)
for _stage in ("segment", "rewrite_prompt", "fill", "qwen_edit"):
    STAGE_RERUNS.labels(_stage)
for _whose in ("caller", "all"):
    for _limit in ("edits", "bytes"):
        EDITS_REFUSED.labels(_whose, _limit)
for _cause in ("left", "asked"):
    EDITS_CANCELLED.labels(_cause)
for _source in ("kept", "running", "store"):
    EDITS_SHARED.labels(_source)
for _outcome in ("delivered", "refused", "failed", "dropped"):
    WEBHOOKS.labels(_outcome)
for _kind in ("unreachable", "refused", "unreadable"):
    ANSWER_STORE_ERRORS.labels(_kind)
