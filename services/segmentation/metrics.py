"""Prometheus metrics of the segmentation service, in addition to every server's."""

from prometheus_client import Counter, Gauge

PRECISION_RETRIES = Counter(
    "imgedit_segmentation_precision_retries_total",
    "Masks recomputed in float32, because the half-precision one was not finite.",
)
CACHE_LOOKUPS = Counter(
    "imgedit_mask_cache_lookups_total",
    "Lookups of masks: hit = remembered, shared = being made for a simultaneous request, miss = made.",
    ["result"],
)
CACHE_BYTES = Gauge("imgedit_mask_cache_bytes", "Bytes held by the mask cache.")

for _result in ("hit", "shared", "miss"):
    CACHE_LOOKUPS.labels(_result)  # rates start at zero, not at the first event
