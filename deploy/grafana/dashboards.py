"""The three dashboards: Edits, Model services, Capacity.

Uses rates of counters and ratios of sums: an average of ratios would give a quiet replica the weight of a busy one.
"""

from __future__ import annotations

from deploy.grafana.panels import Panel, Row
from deploy.prometheus.rules import limits

SLOW_SECONDS = limits()["slow_edit_seconds"]
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
            Panel(
                "편집 수",
                "Edits per minute",
                [("imgedit:edits:rate5m * 60", "")],
                kind="number",
                width=6,
                help=("끝난 편집의 수(실패 포함) · Edits that ended, failed ones included; the last five minutes."),
                runbook="imgeditworkrefused",
            ),
            Panel(
                "실패율",
                "Failures",
                [("imgedit:edit_failures:ratio_rate5m", "")],
                unit="percentunit",
                kind="number",
                width=6,
                help="우리 쪽 원인의 실패 비율 · Edits that failed by our fault; callers' mistakes do not count.",
                runbook="imgediterrorbudgetburn",
            ),
            Panel(
                "P95 시간",
                "P95 duration",
                [(quantile(0.95, "imgedit_edit_duration_seconds", where='{code="OK"}'), "")],
                unit="s",
                kind="number",
                width=6,
                help=(
                    "성공한 편집 100건 중 95건이 이 시간 안에 끝남 · "
                    "95 of 100 successful edits took at most this long, from arrival to answer."
                ),
                runbook="imgediteditsslow",
            ),
            Panel(
                "진행 중",
                "In flight",
                [("sum(imgedit_edits_in_flight)", "")],
                kind="number",
                width=6,
                help=("지금 처리 중인 편집, 대기 포함 · Edits that are being worked on now, waiting ones included."),
                runbook="imgeditqueuelong",
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
                help=("실험과 기능별 초당 편집 · Edits per second by experiment and feature, whatever became of them."),
                runbook="imgeditworkrefused",
            ),
            Panel(
                "원인별 오류",
                "Errors by reason",
                [(rate("imgedit_rpc_errors_total", "service, reason"), "{{service}} {{reason}}")],
                unit="reqps",
                kind="stack",
                help=(
                    "서비스와 원인별 오류. 원인의 뜻은 오류 문서에 있음 · "
                    "Errors per second by service and reason; the reference of errors says what each means."
                ),
                runbook="imgediterrorbudgetburn",
            ),
            Panel(
                "결과 코드",
                "Edits by code",
                [(rate("imgedit_edit_duration_seconds_count", "code"), "{{code}}")],
                unit="reqps",
                kind="stack",
                help=(
                    "gRPC 결과 코드별 초당 편집. OK가 아닌 것이 실패 · "
                    "Edits per second by gRPC code; all but OK failed."
                ),
                runbook="imgediterrorbudgetburn",
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
                help=("성공한 편집의 시간 분포 · How long successful edits took; P99 shows the slowest of a hundred."),
                runbook="imgediteditsslow",
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
                help=(
                    "기능별로 가장 느린 5%의 경계 · "
                    "The bound of the slowest 5%, by feature: which one makes the others wait."
                ),
                runbook="imgediteditsslow",
            ),
            Panel(
                "스테이지별 시간",
                "Time by stage",
                [(mean("imgedit_stage_duration_seconds", "stage"), "{{stage}}")],
                unit="s",
                kind="stack",
                help="평균 시간 · The mean of each stage; segment and rewrite_prompt run beside the others.",
                runbook="imgediteditsslow",
            ),
            Panel(
                "대기 시간 P95",
                "Queue wait, P95",
                [(quantile(0.95, "imgedit_queue_wait_seconds", "service"), "{{service}}")],
                unit="s",
                help=(
                    "장치를 기다린 시간. 길면 복제본이 모자람 · "
                    "Time that jobs wait for the device; where it is long, replicas are missing."
                ),
                runbook="imgeditqueuelong",
            ),
            Panel(
                "이미지 크기",
                "Picture size",
                [(quantile(q, "imgedit_image_pixels"), f"P{round(q * 100)}") for q in (0.5, 0.95)],
                unit="short",
                help="픽셀 · Pixels of the pictures that are edited.",
                runbook="imgediteditsslow",
            ),
            Panel(
                "다시 실행된 스테이지",
                "Stages run again",
                [(rate("imgedit_stage_reruns_total", "stage"), "{{stage}}")],
                unit="ops",
                help="모델 서비스를 잃어 한 번 더 실행한 단계 · The service was lost; another took the stage.",
                runbook="imgeditreplicadown",
            ),
            Panel(
                "취소와 공유",
                "Cancelled and shared",
                [
                    (rate("imgedit_edits_cancelled_total", "cause"), "cancelled: {{cause}}"),
                    (rate("imgedit_edits_shared_total", "source"), "shared: {{source}}"),
                ],
                unit="ops",
                help=(
                    "취소된 편집과, 같은 요청 번호로 결과를 나눠 받은 편집 · "
                    "Edits that were cancelled, by cause, and those that joined another under the same request id."
                ),
                runbook="imgeditworkrefused",
            ),
            Panel(
                "한도 초과",
                "Refused beyond a limit",
                [(rate("imgedit_edits_refused_total", "whose, limit"), "{{limit}} of {{whose}}")],
                unit="ops",
                kind="stack",
                help=(
                    "한도를 넘어 거절된 편집. 전체 또는 호출자의 한도 · "
                    "Edits refused before any work, by the limit and by whose it is: all callers' or this one's."
                ),
                runbook="imgeditworkrefused",
            ),
            Panel(
                "웹훅",
                "Webhooks",
                [
                    (rate("imgedit_webhooks_total", "outcome"), "{{outcome}}"),
                    (rate("imgedit_webhook_retries_total"), "retries"),
                    ("sum(imgedit_webhooks_in_flight)", "in flight"),
                ],
                unit="ops",
                help=(
                    "끝난 웹훅의 결과, 재시도, 전송 중인 웹훅의 수. 이유는 로그 imgedit.webhooks에 있음 · "
                    "Webhooks per second by outcome, retries, and those on their way; imgedit.webhooks logs why."
                ),
                runbook="imgeditworkrefused",
            ),
            Panel(
                "편집 메모리",
                "Bytes of edits and of kept answers",
                [
                    ("sum(imgedit_edit_bytes)", "edits"),
                    ("sum(imgedit_kept_answer_bytes)", "kept answers"),
                    ("max(imgedit_answer_store_bytes)", "answer store"),
                ],
                unit="bytes",
                help=(
                    "진행 중인 편집과, 다시 물을 때를 위해 보관한 결과의 메모리 · "
                    "Memory of running edits, and of answers that are kept for callers who ask again."
                ),
                runbook="imgeditoutofmemory",
            ),
            Panel(
                "답변 저장소",
                "Answer store",
                [
                    ("max(imgedit_answer_store_lost)", "lost"),
                    (rate("imgedit_answer_store_errors_total", "kind"), "errors: {{kind}}"),
                ],
                help=(
                    "여러 orchestrator가 함께 쓰는 답변 저장소의 장애와 오류. 1이면 응답 없음 · "
                    "1 while the store that orchestrators share does not answer, and its errors per second."
                ),
                runbook="imgeditanswerstorelost",
            ),
            Panel(
                "콘텐츠 정책",
                "Content policy",
                [(rate("imgedit_policy_verdicts_total", "subject, decision"), "{{subject}}: {{decision}}")],
                unit="ops",
                help=(
                    "콘텐츠 정책이 허용하거나 거절한 프롬프트와 결과 · "
                    "What the content policy decided about prompts and results."
                ),
                runbook="imgediterrorbudgetburn",
            ),
            Panel(
                "배경 제거 실패",
                "Edits without a cut-out",
                [(rate("imgedit_cutout_failures_total"), "")],
                unit="reqps",
                help=(
                    "배경 제거 이미지 없이 응답한 편집 · "
                    "Edits that were answered without the cut-out, since segmentation failed."
                ),
                runbook="imgeditcutoutsfail",
            ),
        ],
    ),
    Row(
        "OpenAI 호환 API",
        "OpenAI API",
        [
            Panel(
                "결과 코드별 요청",
                "Requests by code",
                [(rate("imgedit_rpc_duration_seconds_count", "rpc, code", OPENAI), "{{rpc}} {{code}}")],
                unit="reqps",
                kind="stack",
                help="경로와 gRPC 코드별 초당 요청 · Requests of OpenAI's API per second, by path and gRPC code.",
                runbook="imgediterrorbudgetburn",
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
                runbook="imgediteditsslow",
            ),
            Panel(
                "결과와 중간 이미지",
                "Results and partial images",
                [
                    (rate("imgedit_openai_results_total", "form"), "{{form}}"),
                    (rate("imgedit_openai_partial_images_total"), "partial images"),
                ],
                unit="ops",
                help="초당 보낸 결과와 중간 이미지 · Results per second by form, and partial images of streams.",
                runbook="imgeditworkrefused",
            ),
            Panel(
                "만들고 있는 결과",
                "Results in the making",
                [
                    ("sum(imgedit_openai_edits_in_flight)", "results"),
                    ('sum(envoy_cluster_upstream_rq_active{envoy_cluster_name="openai_api"})', "requests at the edge"),
                ],
                help="지금 만들고 있는 결과와, 게이트웨이가 기다리는 요청 · "
                "Results that are being made, and requests that the edge waits for.",
                runbook="imgeditqueuelong",
            ),
            Panel(
                "받은 바이트",
                "Bytes received",
                [(rate("imgedit_openai_request_bytes_total"), "")],
                unit="Bps",
                help="초당 받은 요청의 크기 · Bytes of requests per second.",
                runbook="imgeditoutofmemory",
            ),
            Panel(
                "URL로 제공하는 결과",
                "Results behind URLs",
                [("sum(imgedit_openai_url_bytes)", "")],
                unit="bytes",
                help="PUBLIC_URL을 설정한 경우 · Where PUBLIC_URL is set.",
                runbook="imgeditoutofmemory",
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
                runbook="imgediterrorbudgetburn",
            ),
            Panel(
                f"{SLOW_SECONDS:g}초 넘는 편집",
                f"Edits over {SLOW_SECONDS:g} s",
                [("imgedit:slow_edits:ratio_rate30m", "")],
                unit="percentunit",
                width=12,
                help=(
                    "느린 편집의 비율. 한도는 limits.yaml의 slow_edit_seconds · "
                    "The part of successful edits that took longer than slow_edit_seconds of limits.yaml."
                ),
                runbook="imgediteditsslow",
            ),
        ],
    ),
)

SERVICES = (
    Row(
        "대기열",
        "Queue",
        [
            Panel(
                "대기 작업",
                "Jobs",
                [("sum by (service) (imgedit_queue_depth)", "{{service}}")],
                help=("장치를 기다리는 작업의 수 · Jobs that wait for the device."),
                runbook="imgeditqueuelong",
            ),
            Panel(
                "대기 메모리",
                "Bytes held by jobs",
                [("sum by (service) (imgedit_engine_queue_bytes)", "{{service}}")],
                unit="bytes",
                help=("대기하거나 실행 중인 작업이 차지한 메모리 · Memory of the jobs that wait or run."),
                runbook="imgeditoutofmemory",
            ),
            Panel(
                "작업 결과",
                "Jobs by outcome",
                [(rate("imgedit_engine_jobs_total", "service, outcome"), "{{service}} {{outcome}}")],
                unit="ops",
                kind="stack",
                help=(
                    "작업의 결과. refused는 시작 전 거절, deadline은 시간 초과 · "
                    "What became of jobs: refused ones never began, deadline ones were too late."
                ),
                runbook="imgeditworkrefused",
            ),
            Panel(
                "취소로 아낀 스텝",
                "Steps saved by cancelling",
                [(rate("imgedit_engine_steps_saved_total", "service"), "{{service}}")],
                unit="ops",
                help="취소되거나 늦은 작업의 단계 · Not run for callers who had gone, or for jobs too late.",
                runbook="imgeditworkrefused",
            ),
            Panel(
                "예측 오차",
                "Cost model error, P50 and P95",
                [
                    (quantile(q, "imgedit_engine_cost_error_ratio", "service"), f"{{{{service}}}} P{round(q * 100)}")
                    for q in (0.5, 0.95)
                ],
                unit="percentunit",
                help=(
                    "예측한 단계 시간과 실제의 차이. 마감 거절이 이 예측에 달려 있음 · "
                    "How far the predicted time of a step was off; refusals for a deadline depend on it."
                ),
                runbook="imgeditcostmodeloff",
            ),
            Panel(
                "급한 작업",
                "Side tasks: prompts rewritten",
                [
                    (rate("imgedit_engine_errands_total", "service, outcome"), "{{service}} {{outcome}}"),
                    (quantile(0.95, "imgedit_engine_errand_wait_seconds", "service"), "{{service}} wait P95, s"),
                ],
                help=(
                    "이미지 작업 사이에 실행된 프롬프트 번역과 확장, 그 대기 시간 · "
                    "Prompts translated or written out between pictures, and how long they waited."
                ),
                runbook="imgeditqueuelong",
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
                help=(
                    "노이즈 제거 한 스텝의 시간. 갑자기 늘면 장치를 다른 것이 쓰고 있음 · "
                    "One denoise forward; a sudden rise means that something else uses the device."
                ),
                runbook="imgeditcostmodeloff",
            ),
            Panel(
                "준비와 디코드",
                "Prepare and decode",
                [
                    (mean("imgedit_engine_prepare_seconds", "service"), "{{service}} prepare"),
                    (mean("imgedit_engine_decode_seconds", "service"), "{{service}} decode"),
                ],
                unit="s",
                help=(
                    "프롬프트와 이미지 인코딩, 결과 디코딩의 평균 시간 · "
                    "The mean time to encode prompt and pictures, and to decode the result."
                ),
                runbook="imgediteditsslow",
            ),
            Panel(
                "배치 크기",
                "Batch size",
                [(mean("imgedit_engine_batch_jobs", "service"), "{{service}}")],
                help="한 번의 계산에 함께 실행된 작업 수 · Jobs in one forward, on average.",
                runbook="scale",
            ),
            Panel(
                "생략한 스텝",
                "Steps skipped by the step cache",
                [(rate("imgedit_engine_step_cache_skips_total", "service"), "{{service}}")],
                unit="ops",
                help=(
                    "스텝 캐시가 계산 대신 재사용한 스텝 · "
                    "Forwards that the step cache saved by taking the step before."
                ),
                runbook="imgediteditsslow",
            ),
            Panel(
                "부분만 계산한 단계",
                "Region steps",
                [(rate("imgedit_engine_region_steps_total", "service"), "{{service}}")],
                unit="ops",
                help="마스크가 덮는 부분만 계산한 스텝 수 · Steps that computed only what the mask asks for.",
                runbook="imgediteditsslow",
            ),
            Panel(
                "유한하지 않은 결과",
                "Results that were not finite",
                [(rate("imgedit_engine_not_finite_total", "service, part"), "{{service}} {{part}}")],
                unit="ops",
                help="NaN이나 무한대가 나온 계산 · decode is repeated in float32; other parts end the job.",
                runbook="imgeditnumbersnotfinite",
            ),
            Panel(
                "정밀도 재시도",
                "Masks computed again in float32",
                [(rate("imgedit_segmentation_precision_retries_total"), "")],
                unit="ops",
                help=(
                    "낮은 정밀도에서 값이 깨져 float32로 다시 계산한 마스크 · "
                    "Masks that held NaN or infinity in the low precision, and were computed again."
                ),
                runbook="imgeditnumbersnotfinite",
            ),
            Panel(
                "RPC 시간 P95",
                "RPC duration, P95",
                [(quantile(0.95, "imgedit_rpc_duration_seconds", "service, rpc"), "{{service}} {{rpc}}")],
                unit="s",
                help=("RPC별 가장 느린 5%의 경계 · The bound of the slowest 5% of calls, by service and method."),
                runbook="imgediteditsslow",
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
                help=(
                    "작업 하나가 쓴 장치 메모리의 최댓값 · "
                    "The most device memory that a job took; what is left is room for larger pictures."
                ),
                runbook="imgeditoutofmemory",
            ),
            Panel(
                "메모리 부족",
                "Out of memory",
                [(rate("imgedit_engine_out_of_memory_total", "service"), "{{service}}")],
                unit="ops",
                help=("장치 메모리가 모자라 거절된 작업 · Jobs refused since the device ran out of memory."),
                runbook="imgeditoutofmemory",
            ),
            Panel(
                "프로세스 메모리",
                "Process memory",
                [('sum by (job, instance) (process_resident_memory_bytes{job=~"imgedit-.*"})', "{{job}} {{instance}}")],
                unit="bytes",
                help=(
                    "서비스 프로세스의 메모리. 계속 늘면 누수 · "
                    "Resident memory of the processes; a steady rise is a leak."
                ),
                runbook="imgeditoutofmemory",
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
                help=(
                    "같은 프롬프트와 이미지의 인코딩을 다시 쓴 비율 · "
                    "The part of encodings of prompts and pictures that were found in the cache."
                ),
                runbook="imgediteditsslow",
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
                help=(
                    "같은 이미지의 마스크를 다시 쓴 비율 · "
                    "The part of masks that were found in the cache, for a picture edited again."
                ),
                runbook="imgediteditsslow",
            ),
            Panel(
                "캐시 크기",
                "Cache size",
                [
                    ("sum by (service) (imgedit_engine_cache_bytes)", "{{service}}"),
                    ("sum by (service) (imgedit_engine_kept_bytes)", "{{service}}, region steps"),
                    ("sum by (service) (imgedit_engine_lora_bytes)", "{{service}}, LoRAs"),
                    ("sum(imgedit_mask_cache_bytes)", "segmentation"),
                ],
                unit="bytes",
                help=("캐시가 쓰는 메모리 · Memory of the caches; CACHE_BYTES and LORA_BYTES bound it."),
                runbook="imgeditoutofmemory",
            ),
            Panel(
                "LoRA 로드",
                "LoRA loads",
                [(rate("imgedit_engine_lora_loads_total", "service"), "{{service}}")],
                unit="ops",
                help=(
                    "요청에 쓰려고 읽은 LoRA. 계속 높으면 LORA_BYTES를 늘리세요 · "
                    "LoRAs that were read for requests. If this stays high, raise LORA_BYTES."
                ),
                runbook="imgediteditsslow",
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
                help=(
                    "실험 카탈로그를 읽은 횟수와, 읽은 지 지난 날 · "
                    "Readings of the experiment catalogue by outcome, and days since the last."
                ),
                runbook="imgeditcataloguenotreloaded",
            ),
            Panel(
                "잃은 디코더",
                "Decoder processes lost",
                [(rate("imgedit_decoders_lost_total"), "")],
                unit="ops",
                help="한도를 넘은 이미지로 끝난 프로세스 · Ended by a picture beyond the limits.",
                runbook="imgeditdecoderslost",
            ),
            Panel(
                "처리 중인 RPC",
                "RPCs in flight",
                [("sum by (service, rpc) (imgedit_rpc_in_flight)", "{{service}} {{rpc}}")],
                help=("지금 처리 중인 RPC · Calls being served now, by service and method."),
                runbook="imgeditqueuelong",
            ),
            Panel(
                "급한 작업 시간 P95",
                "Side task, P95",
                [(quantile(0.95, "imgedit_engine_errand_seconds", "service"), "{{service}}")],
                unit="s",
                help=(
                    "프롬프트 번역 하나에 걸린 시간 · Time on the device of a prompt that is translated or written out."
                ),
                runbook="imgediteditsslow",
            ),
            Panel(
                "모델 로드",
                "Model loaded",
                [("min by (service) (imgedit_model_loaded)", "{{service}}")],
                help=("1 = 모델이 로드됨, 0 = 아직 · 1 = the model is loaded, 0 = not yet."),
                runbook="imgeditmodelnotloaded",
            ),
            Panel(
                "로드 시간",
                "Load time",
                [("max by (service, instance) (imgedit_model_load_seconds)", "{{service}} {{instance}}")],
                unit="s",
                help=("시작할 때 모델을 읽는 데 걸린 시간 · Seconds that the model took to load at the start."),
                runbook="imgeditmodelnotloaded",
            ),
            Panel(
                "버전",
                "Versions",
                [("count by (service, version) (imgedit_build_info)", "{{service}} {{version}}")],
                help=(
                    "버전별 실행 중인 프로세스 수. 배포 중에는 둘이 보임 · "
                    "Processes by version; during a roll-out there are two."
                ),
                runbook="upgrade-roll-back",
            ),
            Panel(
                "인증서 재로드 실패",
                "Credential files that could not be read",
                [(rate("imgedit_reload_failures_total", "service, what"), "{{service}} {{what}}")],
                unit="ops",
                help=(
                    "바뀐 토큰이나 인증서 파일을 읽지 못한 횟수 · "
                    "Changed files of tokens or certificates that could not be read; the old ones stay in force."
                ),
                runbook="imgeditcredentialsnotreloaded",
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
                runbook="capacity",
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
                help=(
                    "장치 하나가 한 시간에 끝내는 작업. 편집 하나가 작업 여럿일 수 있음 · "
                    "Jobs that one device finishes in an hour; an edit is a job at each model service that it passes."
                ),
                runbook="capacity",
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
                help="KEDA가 보는 값 · What KEDA scales on.",
                runbook="scale",
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
                help=("받지 못했거나 늦은 작업 · Jobs that were refused or came too late, by outcome."),
                runbook="imgeditworkrefused",
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
                help=(
                    "게이트웨이가 처리 중인 요청과, 한도를 넘어 거절한 요청 · "
                    "Requests at the edge now, and those refused beyond its limit."
                ),
                runbook="imgeditedgeoverflow",
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
                runbook="capacity",
            ),
            Panel(
                "필요한 장치 수",
                "Devices needed at 70%",
                [("ceil(sum by (service) (imgedit:device_busy:ratio_rate5m) / 0.7)", "{{service}}")],
                width=12,
                help=(
                    "지금의 부하를 사용률 70%로 처리하는 데 필요한 장치 수 · "
                    "Devices that would carry the present load at 70% utilisation."
                ),
                runbook="capacity",
            ),
        ],
    ),
)

DASHBOARDS = {
    "edits": ("편집", "Edits", EDITS),
    "model-services": ("모델 서비스", "Model services", SERVICES),
    "capacity": ("용량", "Capacity", CAPACITY),
}
