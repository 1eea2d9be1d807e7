"""The three dashboards: Edits, Model services, Capacity.

Uses rates of counters and ratios of sums: an average of ratios would give a quiet replica the weight of a busy one.
"""

from __future__ import annotations

from deploy.grafana.panels import Panel, Row

RANGE = "[$__rate_interval]"


def quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram, per group."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{where}{RANGE})))"


def rate(counter: str, by: str = "", where: str = "") -> str:
    """Events per second, per group."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({counter}{where}{RANGE}))"


def share(counter: str, where: str, by: str = "") -> str:
    """The share of a counter's events that match `where`, per group."""
    return f"{rate(counter, by, where)} / ({rate(counter, by)} > 0)"


def mean(histogram: str, by: str) -> str:
    """The mean of a histogram's observations, per group."""
    return f"{rate(f'{histogram}_sum', by)} / ({rate(f'{histogram}_count', by)} > 0)"


OPENAI = '{service="openai_api"}'
FINISHED_PER_SECOND = rate("imgedit_engine_jobs_total", "service", '{outcome="finished"}')

EDITS = (
    Row(
        "한눈에",
        "At a glance",
        [
            Panel("편집 수", "Edits per minute", [("imgedit:edits:rate5m * 60", "")], kind="number", width=6),
            Panel(
                "실패율",
                "Failures",
                [("imgedit:edit_failures:ratio_rate5m", "")],
                unit="percentunit",
                kind="number",
                width=6,
                help="우리 쪽 원인의 실패 비율 · Edits that failed on our side; callers' mistakes do not count.",
            ),
            Panel(
                "P95 시간",
                "P95 duration",
                [(quantile(0.95, "imgedit_edit_duration_seconds", where='{code="OK"}'), "")],
                unit="s",
                kind="number",
                width=6,
            ),
            Panel(
                "진행 중",
                "In flight",
                [("sum(imgedit_edits_in_flight)", "")],
                kind="number",
                width=6,
            ),
        ],
    ),
    Row(
        "요청과 오류",
        "Requests and errors",
        [
            Panel(
                "실험별 편집",
                "Edits by experiment",
                [(rate("imgedit_edit_duration_seconds_count", "experiment, feature"), "{{experiment}} / {{feature}}")],
                unit="reqps",
                kind="stack",
            ),
            Panel(
                "원인별 오류",
                "Errors by reason",
                [(rate("imgedit_rpc_errors_total", "service, reason"), "{{service}} {{reason}}")],
                unit="reqps",
                kind="stack",
            ),
            Panel(
                "결과 코드",
                "Edits by code",
                [(rate("imgedit_edit_duration_seconds_count", "code"), "{{code}}")],
                unit="reqps",
                kind="stack",
            ),
        ],
    ),
    Row(
        "시간",
        "Time",
        [
            Panel(
                "편집 시간",
                "Edit duration",
                [
                    (quantile(q, "imgedit_edit_duration_seconds", where='{code="OK"}'), f"P{round(q * 100)}")
                    for q in (0.5, 0.95, 0.99)
                ],
                unit="s",
            ),
            Panel(
                "기능별 P95",
                "P95 by feature",
                [
                    (
                        quantile(0.95, "imgedit_edit_duration_seconds", "experiment, feature", '{code="OK"}'),
                        "{{experiment}} / {{feature}}",
                    )
                ],
                unit="s",
            ),
            Panel(
                "스테이지별 시간",
                "Time by stage",
                [(mean("imgedit_stage_duration_seconds", "stage"), "{{stage}}")],
                unit="s",
                kind="stack",
                help="평균 시간 · The mean of each stage; segment and rewrite_prompt run beside the others.",
            ),
            Panel(
                "대기 시간 P95",
                "Queue wait, P95",
                [(quantile(0.95, "imgedit_queue_wait_seconds", "service"), "{{service}}")],
                unit="s",
            ),
            Panel(
                "이미지 크기",
                "Picture size",
                [(quantile(q, "imgedit_image_pixels"), f"P{round(q * 100)}") for q in (0.5, 0.95)],
                unit="short",
                help="픽셀 · Pixels of the pictures that are edited.",
            ),
            Panel(
                "다시 실행된 스테이지",
                "Stages run again",
                [(rate("imgedit_stage_reruns_total", "stage"), "{{stage}}")],
                unit="ops",
                help="모델 서비스를 잃어 한 번 더 실행한 스테이지 · The service was lost and the stage rerun.",
            ),
            Panel(
                "취소와 공유",
                "Cancelled and shared",
                [
                    (rate("imgedit_edits_cancelled_total", "cause"), "cancelled: {{cause}}"),
                    (rate("imgedit_edits_shared_total", "source"), "shared: {{source}}"),
                ],
                unit="ops",
            ),
            Panel(
                "한도 초과",
                "Refused beyond a limit",
                [(rate("imgedit_edits_refused_total", "whose, limit"), "{{limit}} of {{whose}}")],
                unit="ops",
                kind="stack",
            ),
            Panel(
                "편집 메모리",
                "Bytes of edits and of kept answers",
                [
                    ("sum(imgedit_edit_bytes)", "edits"),
                    ("sum(imgedit_kept_answer_bytes)", "kept answers"),
                ],
                unit="bytes",
            ),
            Panel(
                "콘텐츠 정책",
                "Content policy",
                [(rate("imgedit_policy_verdicts_total", "subject, decision"), "{{subject}}: {{decision}}")],
                unit="ops",
            ),
            Panel(
                "배경 제거 실패",
                "Edits without a cut-out",
                [(rate("imgedit_cutout_failures_total"), "")],
                unit="reqps",
            ),
        ],
    ),
    Row(
        "OpenAI API",
        "OpenAI API",
        [
            Panel(
                "결과 코드별 요청",
                "Requests by code",
                [(rate("imgedit_rpc_duration_seconds_count", "rpc, code", OPENAI), "{{rpc}} {{code}}")],
                unit="reqps",
                kind="stack",
            ),
            Panel(
                "요청 시간",
                "Request duration",
                [
                    (quantile(q, "imgedit_rpc_duration_seconds", "rpc", OPENAI), f"{{{{rpc}}}} P{round(q * 100)}")
                    for q in (0.5, 0.95)
                ],
                unit="s",
                help="편집 시간 포함 · The edit behind it included.",
            ),
            Panel(
                "결과와 중간 이미지",
                "Results and partial images",
                [
                    (rate("imgedit_openai_results_total", "form"), "{{form}}"),
                    (rate("imgedit_openai_partial_images_total"), "partial images"),
                ],
                unit="ops",
            ),
            Panel(
                "만들고 있는 결과",
                "Results in the making",
                [
                    ("sum(imgedit_openai_edits_in_flight)", "results"),
                    ('sum(envoy_cluster_upstream_rq_active{envoy_cluster_name="openai_api"})', "requests at the edge"),
                ],
            ),
            Panel(
                "받은 바이트",
                "Bytes received",
                [(rate("imgedit_openai_request_bytes_total"), "")],
                unit="Bps",
            ),
            Panel(
                "URL로 제공하는 결과",
                "Results behind URLs",
                [("sum(imgedit_openai_url_bytes)", "")],
                unit="bytes",
                help="PUBLIC_URL을 설정한 경우 · Where PUBLIC_URL is set.",
            ),
        ],
    ),
    Row(
        "목표",
        "Objectives",
        [
            Panel(
                "오류 예산 소진 속도",
                "Error budget burn rate",
                [(f"imgedit:edit_failures:ratio_rate{window} / 0.01", window) for window in ("5m", "1h", "6h", "3d")],
                help="1 = 30일에 예산을 모두 씀 · At 1 the budget of 1% lasts 30 days; paging starts at 14.4 and 6.",
                width=12,
            ),
            Panel(
                "1분 넘는 편집",
                "Edits over a minute",
                [("imgedit:slow_edits:ratio_rate30m", "")],
                unit="percentunit",
                width=12,
            ),
        ],
    ),
)

SERVICES = (
    Row(
        "대기열",
        "Queue",
        [
            Panel("대기 작업", "Jobs", [("sum by (service) (imgedit_queue_depth)", "{{service}}")]),
            Panel(
                "대기 메모리",
                "Bytes held by jobs",
                [("sum by (service) (imgedit_engine_queue_bytes)", "{{service}}")],
                unit="bytes",
            ),
            Panel(
                "작업 결과",
                "Jobs by outcome",
                [(rate("imgedit_engine_jobs_total", "service, outcome"), "{{service}} {{outcome}}")],
                unit="ops",
                kind="stack",
            ),
            Panel(
                "취소로 아낀 스텝",
                "Steps saved by cancelling",
                [(rate("imgedit_engine_steps_saved_total", "service"), "{{service}}")],
                unit="ops",
                help="취소되거나 늦은 작업의 스텝 · Skipped for disconnected callers and late jobs.",
            ),
            Panel(
                "예측 오차",
                "Cost model error, P50 and P95",
                [
                    (quantile(q, "imgedit_engine_cost_error_ratio", "service"), f"{{{{service}}}} P{round(q * 100)}")
                    for q in (0.5, 0.95)
                ],
                unit="percentunit",
            ),
            Panel(
                "급한 작업",
                "Side tasks: prompts rewritten",
                [
                    (rate("imgedit_engine_errands_total", "service, outcome"), "{{service}} {{outcome}}"),
                    (quantile(0.95, "imgedit_engine_errand_wait_seconds", "service"), "{{service}} wait P95, s"),
                ],
            ),
        ],
    ),
    Row(
        "계산",
        "Work",
        [
            Panel(
                "스텝 시간 P50",
                "Step, P50",
                [(quantile(0.5, "imgedit_engine_step_seconds", "service"), "{{service}}")],
                unit="s",
            ),
            Panel(
                "준비와 디코드",
                "Prepare and decode",
                [
                    (mean("imgedit_engine_prepare_seconds", "service"), "{{service}} prepare"),
                    (mean("imgedit_engine_decode_seconds", "service"), "{{service}} decode"),
                ],
                unit="s",
            ),
            Panel(
                "배치 크기",
                "Batch size",
                [(mean("imgedit_engine_batch_jobs", "service"), "{{service}}")],
                help="한 번의 계산에 함께 실행된 작업 수 · Jobs in one forward, on average.",
            ),
            Panel(
                "생략한 스텝",
                "Steps skipped by the step cache",
                [(rate("imgedit_engine_step_cache_skips_total", "service"), "{{service}}")],
                unit="ops",
            ),
            Panel(
                "유한하지 않은 결과",
                "Results that were not finite",
                [(rate("imgedit_engine_not_finite_total", "service, part"), "{{service}} {{part}}")],
                unit="ops",
                help="NaN이나 무한대가 나온 계산 · decode runs again in float32; other parts end the job.",
            ),
            Panel(
                "정밀도 재시도",
                "Masks computed again in float32",
                [(rate("imgedit_segmentation_precision_retries_total"), "")],
                unit="ops",
            ),
            Panel(
                "RPC 시간 P95",
                "RPC duration, P95",
                [(quantile(0.95, "imgedit_rpc_duration_seconds", "service, rpc"), "{{service}} {{rpc}}")],
                unit="s",
            ),
        ],
    ),
    Row(
        "메모리와 캐시",
        "Memory and caches",
        [
            Panel(
                "GPU 메모리 최대",
                "Peak device memory",
                [("max by (service, instance) (imgedit_engine_peak_memory_bytes)", "{{service}} {{instance}}")],
                unit="bytes",
            ),
            Panel(
                "메모리 부족",
                "Out of memory",
                [(rate("imgedit_engine_out_of_memory_total", "service"), "{{service}}")],
                unit="ops",
            ),
            Panel(
                "프로세스 메모리",
                "Process memory",
                [('sum by (job, instance) (process_resident_memory_bytes{job=~"imgedit-.*"})', "{{job}} {{instance}}")],
                unit="bytes",
            ),
            Panel(
                "조건 캐시 적중률",
                "Conditioning cache hits",
                [
                    (
                        share("imgedit_engine_cache_lookups_total", '{result="hit"}', by="service, kind"),
                        "{{service}} {{kind}}",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                "마스크 캐시 적중률",
                "Mask cache hits",
                [
                    (
                        share("imgedit_mask_cache_lookups_total", '{result!="miss"}'),
                        "",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                "캐시 크기",
                "Cache size",
                [
                    ("sum by (service) (imgedit_engine_cache_bytes)", "{{service}}"),
                    ("sum(imgedit_mask_cache_bytes)", "segmentation"),
                ],
                unit="bytes",
            ),
        ],
    ),
    Row(
        "상태",
        "State",
        [
            Panel(
                "카탈로그",
                "Catalogue: readings, and its age in days",
                [
                    (rate("imgedit_catalogue_reloads_total", "outcome"), "{{outcome}}"),
                    ("(time() - min(imgedit_catalogue_read_timestamp_seconds)) / 86400", "age"),
                ],
            ),
            Panel(
                "잃은 디코더",
                "Decoder processes lost",
                [(rate("imgedit_decoders_lost_total"), "")],
                unit="ops",
                help="한도를 넘은 이미지로 끝난 프로세스 · Ended by a picture beyond the limits.",
            ),
            Panel(
                "처리 중인 RPC",
                "RPCs in flight",
                [("sum by (service, rpc) (imgedit_rpc_in_flight)", "{{service}} {{rpc}}")],
            ),
            Panel(
                "급한 작업 시간 P95",
                "Side task, P95",
                [(quantile(0.95, "imgedit_engine_errand_seconds", "service"), "{{service}}")],
                unit="s",
            ),
            Panel("모델 로드", "Model loaded", [("min by (service) (imgedit_model_loaded)", "{{service}}")]),
            Panel(
                "로드 시간",
                "Load time",
                [("max by (service, instance) (imgedit_model_load_seconds)", "{{service}} {{instance}}")],
                unit="s",
            ),
            Panel(
                "버전",
                "Versions",
                [("count by (service, version) (imgedit_build_info)", "{{service}} {{version}}")],
            ),
            Panel(
                "인증서 재로드 실패",
                "Credential files that could not be read",
                [(rate("imgedit_reload_failures_total", "service, what"), "{{service}} {{what}}")],
                unit="ops",
            ),
        ],
    ),
)

CAPACITY = (
    Row(
        "사용률",
        "Utilisation",
        [
            Panel(
                "장치 사용률",
                "Device busy",
                [("avg by (service) (imgedit:device_busy:ratio_rate5m)", "{{service}}")],
                unit="percentunit",
                width=12,
                help="계산에 쓴 시간의 비율 · Share of time spent computing; above 80% waiting grows fast.",
            ),
            Panel(
                "장치당 시간당 편집",
                "Jobs per device and hour",
                [
                    (
                        FINISHED_PER_SECOND + " * 3600 / count by (service) (imgedit_engine_peak_memory_bytes)",
                        "{{service}}",
                    )
                ],
                width=12,
            ),
        ],
    ),
    Row(
        "포화",
        "Saturation",
        [
            Panel(
                "대기열 / 복제본",
                "Jobs per replica",
                [("avg by (service) (imgedit_queue_depth)", "{{service}}")],
                help="KEDA가 보는 값 · KEDA's scaling signal.",
            ),
            Panel(
                "거절",
                "Refused",
                [
                    (
                        rate("imgedit_engine_jobs_total", "service, outcome", '{outcome=~"refused_.*|deadline"}'),
                        "{{service}} {{outcome}}",
                    )
                ],
                unit="ops",
                kind="stack",
            ),
            Panel(
                "게이트웨이",
                "Edge: active requests and overflow",
                [
                    ('sum(envoy_cluster_upstream_rq_active{envoy_cluster_name="orchestrator"})', "active"),
                    (
                        rate("envoy_cluster_upstream_rq_pending_overflow", where='{envoy_cluster_name="orchestrator"}'),
                        "overflow per s",
                    ),
                ],
            ),
        ],
    ),
    Row(
        "예측",
        "Forecast",
        [
            Panel(
                "4시간 뒤 사용률",
                "Device busy in four hours",
                [
                    (
                        "clamp_min(predict_linear(imgedit:device_busy:ratio_rate5m[1h], 4 * 3600), 0)",
                        "{{service}} {{instance}}",
                    )
                ],
                unit="percentunit",
                width=12,
                help="최근 1시간의 직선 연장 · The last hour's trend, continued: a warning, not a plan.",
            ),
            Panel(
                "필요한 장치 수",
                "Devices needed at 70%",
                [("ceil(sum by (service) (imgedit:device_busy:ratio_rate5m) / 0.7)", "{{service}}")],
                width=12,
            ),
        ],
    ),
)

DASHBOARDS = {
    "edits": ("편집", "Edits", EDITS),
    "model-services": ("모델 서비스", "Model services", SERVICES),
    "capacity": ("용량", "Capacity", CAPACITY),
}
