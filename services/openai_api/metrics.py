"""Metrics of this service.

`services.common.metrics` counts its requests as RPCs.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RESULTS = Counter("imgedit_openai_results_total", "Results that were answered.", ["form"])
PARTIAL_IMAGES = Counter("imgedit_openai_partial_images_total", "Partial images that were streamed.")
REQUEST_BYTES = Counter("imgedit_openai_request_bytes_total", "Bytes of requests that were read.")
EDITS_IN_FLIGHT = Gauge("imgedit_openai_edits_in_flight", "Results in the making.")
URL_BYTES = Gauge("imgedit_openai_url_bytes", "Bytes of results that are kept behind URLs.")

for form in ("b64_json", "url", "stream"):
    RESULTS.labels(form)  # rates start at zero, not at the first event
