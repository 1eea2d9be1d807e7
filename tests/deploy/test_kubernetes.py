"""The Kubernetes manifests.

They render, they are valid, and they mean what they should.
"""

from __future__ import annotations

import copy
import json
import re
import tempfile
from ipaddress import ip_network
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import redis
import yaml
from typer.testing import CliRunner

from deploy.build import dashboards
from imgedit.cli.main import app
from imgedit.local import gateway
from imgedit.local.services import TABLE
from imgedit.weights import model_registry
from services.common.settings import DiffusionSettings, ModelSettings, ServerSettings
from services.diffusion.warm_sizes import read_warm_sizes
from services.fill.settings import FillSettings
from services.openai_api.settings import OpenAiApiSettings
from services.orchestrator.edits import store_connection
from services.orchestrator.edits.admission import Admission, Limit
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.webhooks.public_addresses import is_public
from services.orchestrator.webhooks.targets import read_allowed_hosts
from services.qwen_edit.settings import QwenEditSettings
from services.segmentation.settings import SegmentationSettings
from studio import settings as studio_settings
from studio.settings import Settings
from tests.deploy import custom_kinds
from tests.deploy.kubernetes import (
    COMPONENTS,
    K8S,
    OVERLAYS,
    OWN_IMAGES,
    ROOT,
    Object,
    containers,
    matches,
    name,
    of_kind,
    pod,
    quantity,
    render,
    workloads,
)
from tests.support.redis_server import redis_server

SETTINGS: dict[str, type[ServerSettings]] = {
    "imgedit-orchestrator": OrchestratorSettings,
    "imgedit-segmentation": SegmentationSettings,
    "imgedit-fill": FillSettings,
    "imgedit-qwen-edit": QwenEditSettings,
    "imgedit-openai-api": OpenAiApiSettings,
}

LONGEST_EDIT = 330
ADMISSION = Admission(Limit(1, 1), Limit(1, 1))
PAGE = "imgedit-studio"
STORE = "imgedit-answer-store"


@pytest.fixture(params=["base", *OVERLAYS])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(K8S / request.param)


@pytest.fixture(scope="module")
def production() -> list[Object]:
    return render(K8S / "overlays/production")


NEEDS = {"components/answer-store-tls": "components/answer-store"}
"""Components that change another one."""


def rendered_with(*chosen: str) -> list[Object]:
    """The base with these components."""
    components = [name for one in chosen for name in (NEEDS.get(one), one) if name]
    with tempfile.TemporaryDirectory(prefix="tried-", dir=K8S / "overlays") as folder:
        text = yaml.safe_dump({"resources": ["../../base"], "components": [f"../../{name}" for name in components]})
        Path(folder, "kustomization.yaml").write_text(text)
        return render(Path(folder))


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_renders_on_the_base(component: str) -> None:
    """Each by itself, also those that no overlay uses."""
    assert workloads(rendered_with(component))


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_every_object_is_valid_by_the_strict_schema(objects: list[Object], version: str) -> None:
    for item in objects:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            custom_kinds.validate(item)


def test_the_validator_sees_a_mistake(objects: list[Object]) -> None:
    item = copy.deepcopy(of_kind(objects, "Deployment")[0])
    item["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, "1.34", strict=True)


def test_every_custom_kind_of_the_components_is_valid_by_its_projects_schema() -> None:
    found = [
        item for component in COMPONENTS for item in rendered_with(component) if item["kind"] in custom_kinds.KINDS
    ]
    for item in found:
        custom_kinds.validate(item)
    assert {item["kind"] for item in found} == custom_kinds.KINDS


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("ScaledObject", ("spec", "maxReplicaCont"), 8, "maxReplicaCont"),
        ("ScaledObject", ("spec", "triggers"), "prometheus", "is not of type 'array'"),
        ("Certificate", ("spec", "privateKey", "algorithm"), "DSA", "is not one of"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "intervall"), "5s", "intervall"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expr"), None, "is not valid"),
        ("GRPCRoute", ("spec", "parentRefs", 0, "names"), "x", "names"),
    ],
)
def test_a_mistake_in_a_custom_kind_is_seen(
    kind: str, path: tuple[str | int, ...], value: object, message: str
) -> None:
    found = (item for component in COMPONENTS for item in rendered_with(component) if item["kind"] == kind)
    item = copy.deepcopy(next(found))
    *parents, last = path
    place = item
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError, match=message):
        custom_kinds.validate(item)


def test_every_selector_picks_exactly_its_own_pods(objects: list[Object]) -> None:
    pods = {name(item): pod(item)["metadata"]["labels"] for item in workloads(objects)}
    for item in of_kind(objects, "Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        selector = item["spec"].get("selector") or item["spec"].get("podSelector")
        picked = [owner for owner, labels in pods.items() if matches(selector, labels)]
        if item["metadata"]["name"] == "imgedit-default-deny":
            assert picked == list(pods)
        else:
            assert [owner.split("/")[1] for owner in picked] == [item["metadata"]["name"]], name(item)
    for service in of_kind(objects, "Service"):
        picked = [
            owner for owner, labels in pods.items() if matches({"matchLabels": service["spec"]["selector"]}, labels)
        ]
        assert picked == [f"Deployment/{service['metadata']['name']}"]


def test_every_port_that_is_named_exists(objects: list[Object]) -> None:
    for item in workloads(objects):
        for container in containers(item):
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {})
                if "httpGet" in asked:
                    assert asked["httpGet"]["path"] in ("/livez", "/readyz", "/_stcore/health")
                if "exec" not in asked and asked:
                    assert asked.get("httpGet", asked.get("tcpSocket"))["port"] in ports, f"{name(item)} {probe}"
    by_name = {item["metadata"]["name"]: item for item in of_kind(objects, "Deployment")}
    for service in of_kind(objects, "Service"):
        deployment = by_name[service["metadata"]["name"]]
        known = {port["name"] for container in containers(deployment) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= known
    for monitor in of_kind(objects, "ServiceMonitor"):
        [service] = [
            item for item in of_kind(objects, "Service")
            if matches(monitor["spec"]["selector"], item["metadata"]["labels"])
        ]  # fmt: skip
        assert {e["port"] for e in monitor["spec"]["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}


def test_the_ports_are_those_of_the_settings(objects: list[Object]) -> None:
    for item in of_kind(objects, "Deployment"):
        settings = SETTINGS.get(item["metadata"]["name"])
        if settings is None:
            continue
        [container] = pod(item)["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        fields = settings.model_fields
        speaks = next(row.speaks for row in TABLE if row.image == item["metadata"]["name"])
        assert ports == {speaks: fields["port"].default, "metrics": fields["metrics_port"].default}


def test_every_variable_is_a_setting_with_a_value_that_it_takes(objects: list[Object]) -> None:
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap") if "data" in item}
    for deployment, settings in SETTINGS.items():
        [item] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == deployment]
        [container] = pod(item)["spec"]["containers"]
        values: dict[str, str] = {}
        for source in container["envFrom"]:
            values |= maps[source["configMapRef"]["name"]]
        values |= {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
        known = {settings.variable(field): field for field in settings.model_fields}
        assert set(values) <= set(known), f"{deployment}: {set(values) - set(known)}"
        settings.model_validate({known[variable]: value for variable, value in values.items()})


def settings_in(objects: list[Object]) -> dict[str, ServerSettings]:
    """Each service's settings, by the name of its Deployment."""
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap") if "data" in item}
    found = {}
    for item in of_kind(objects, "Deployment"):
        settings = SETTINGS.get(item["metadata"]["name"])
        if settings is not None:
            known = {settings.variable(field): field for field in settings.model_fields}
            [container] = pod(item)["spec"]["containers"]
            [source] = container["envFrom"]
            values = maps[source["configMapRef"]["name"]]
            found[item["metadata"]["name"]] = settings.model_validate({known[key]: values[key] for key in values})
    return found


def pulled_by(job: Object, monkeypatch: pytest.MonkeyPatch) -> list[model_registry.Source]:
    """The downloads of the Job's command."""
    sources: list[model_registry.Source] = []

    def pull(source: model_registry.Source, *_: object, **__: object) -> model_registry.LockedModel:
        sources.append(source)
        return model_registry.LockedModel("", source.repo, "", source.folder, "", {})

    monkeypatch.setattr("imgedit.weights.pull.pull", pull)
    [container] = pod(job)["spec"]["containers"]
    result = CliRunner().invoke(app, container["args"])
    assert result.exit_code == 0, result.output
    return sources


@pytest.mark.parametrize(
    "components", [["overlays/production"], ["model-download"], ["model-download", "lowvram"]], ids="+".join
)
def test_the_job_brings_every_file_that_a_setting_names(components: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if components[0].startswith("overlays"):
        objects = render(K8S / components[0])
    else:
        objects = rendered_with(*(f"components/{component}" for component in components))
    [job] = of_kind(objects, "CronJob")
    sources = pulled_by(job, monkeypatch)
    for deployment, settings in settings_in(objects).items():
        if isinstance(settings, ModelSettings):
            assert settings.model_dump()["folder"] in {source.folder for source in sources}, deployment
        if isinstance(settings, DiffusionSettings):
            for file in filter(None, (settings.gguf, settings.lora_fast)):
                assert Path(file) in {Path(source.folder, source.required) for source in sources}, deployment


def test_what_is_scaled_states_no_number_of_replicas(production: list[Object]) -> None:
    """Or each apply would put the number back."""
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in of_kind(production, "ScaledObject")}
    assert scaled == {"imgedit-segmentation", "imgedit-fill", "imgedit-qwen-edit"}
    for item in of_kind(production, "Deployment"):
        assert ("replicas" in item["spec"]) != (item["metadata"]["name"] in scaled), name(item)
    for item in of_kind(render(K8S / "overlays/kind-demo"), "Deployment"):
        assert "replicas" in item["spec"]


def test_weights_are_pulled_when_somebody_says_so_and_an_apply_can_change_how(production: list[Object]) -> None:
    """A Job's template cannot be changed: the next tag would stop the apply.

    A CronJob's can.
    """
    assert not of_kind(production, "Job")
    [item] = of_kind(production, "CronJob")
    assert item["spec"]["suspend"] is True
    assert item["spec"]["jobTemplate"]["spec"]["backoffLimit"] > 0
    [claim] = of_kind(production, "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"]  # a default class is block storage, which binds to one node


def test_volumes_of_weights_are_not_relabelled_file_by_file_at_each_start(objects: list[Object]) -> None:
    for item in workloads(objects):
        assert pod(item)["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch", name(item)


def test_names_are_resolved_in_clusters_with_a_local_cache_and_on_openshift(objects: list[Object]) -> None:
    for item in of_kind(objects, "NetworkPolicy"):
        for rule in item["spec"].get("egress", []):
            if {"port": 53, "protocol": "UDP"} in rule["ports"] and "to" in rule:
                assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
                spaces = [
                    peer["namespaceSelector"]["matchLabels"] for peer in rule["to"] if "namespaceSelector" in peer
                ]
                assert {"kubernetes.io/metadata.name": "openshift-dns"} in spaces
                assert {"port": 5353, "protocol": "UDP"} in rule["ports"]


def test_the_edge_lets_go_of_its_connections_before_it_ends(objects: list[Object]) -> None:
    """A gRPC client calls over the connection that it has until it is told to leave."""
    [data] = [item["data"] for item in of_kind(objects, "ConfigMap") if "edge.json" in item.get("data", {})]
    [deployment] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == "imgedit-edge"]
    [container] = pod(deployment)["spec"]["containers"]
    for file in ("edge.json", "edge-tls.json"):
        [longest] = re.findall(r'"max_connection_duration": ?"(\d+)s"', data[file])
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= int(longest) + LONGEST_EDIT


def test_native_grpc_has_a_way_in(production: list[Object]) -> None:
    ways = {item["metadata"]["name"]: item["metadata"]["annotations"] for item in of_kind(production, "Ingress")}
    assert ways["imgedit-grpc"]["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPC"
    hosts = {item["metadata"]["name"]: item["spec"]["rules"][0]["host"] for item in of_kind(production, "Ingress")}
    assert len(set(hosts.values())) == len(hosts)


def test_a_laptop_of_four_cores_can_schedule_the_demo() -> None:
    requests = [
        (item["spec"]["replicas"], container["resources"]["requests"])
        for item in of_kind(render(K8S / "overlays/kind-demo"), "Deployment")
        for container in pod(item)["spec"]["containers"]
    ]
    assert sum(count * quantity(request["cpu"]) for count, request in requests) <= 2
    assert sum(count * quantity(request["memory"]) for count, request in requests) <= 6 * 1024**3


def test_every_variable_of_the_page_is_a_setting_with_a_value_that_it_takes(objects: list[Object]) -> None:
    [data] = [item["data"] for item in of_kind(objects, "ConfigMap") if item["metadata"]["name"].startswith(PAGE)]
    settings = studio_settings.load_settings(data)
    [deployment] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == PAGE]
    [container] = pod(deployment)["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": Settings().port}]
    assert settings.server == f"imgedit-orchestrator:{OrchestratorSettings.model_fields['port'].default}"
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [path for path in (settings.token_file, settings.tls_ca) if path]
    assert all(any(path.startswith(f"{mount}/") for mount in mounts) for path in files)
    assert settings.token_in_clear == (not settings.tls_ca)


def test_a_visit_stays_in_its_pod(production: list[Object]) -> None:
    [service] = [item for item in of_kind(production, "Service") if item["metadata"]["name"] == PAGE]
    assert service["spec"]["sessionAffinity"] == "ClientIP"
    [ingress] = [item for item in of_kind(production, "Ingress") if item["metadata"]["name"] == PAGE]
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/affinity"] == "cookie"
    [rule] = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": PAGE, "port": {"name": "http"}}


def test_a_login_of_the_page_is_one_component() -> None:
    objects = rendered_with("components/studio-login", "components/tls")
    [data] = [item["data"] for item in of_kind(objects, "ConfigMap") if item["metadata"]["name"].startswith(PAGE)]
    settings = studio_settings.load_settings(data)
    assert settings.login == "oidc"
    [deployment] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == PAGE]
    [container] = pod(deployment)["spec"]["containers"]
    assert str(Path(settings.secrets).parent) in [mount["mountPath"] for mount in container["volumeMounts"]]
    [policy] = [item for item in of_kind(objects, "NetworkPolicy") if item["metadata"]["name"] == PAGE]
    assert {"ports": [{"port": 443}]} in policy["spec"]["egress"]


def test_the_gallery_of_the_page_is_one_component_with_a_volume_of_one_pod() -> None:
    objects = rendered_with("components/studio-gallery")
    [data] = [item["data"] for item in of_kind(objects, "ConfigMap") if item["metadata"]["name"].startswith(PAGE)]
    settings = studio_settings.load_settings(data)
    [deployment] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == PAGE]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    [container] = pod(deployment)["spec"]["containers"]
    assert {"name": "gallery", "mountPath": settings.gallery} in container["volumeMounts"]
    [volume] = [volume for volume in pod(deployment)["spec"]["volumes"] if volume["name"] == "gallery"]
    [claim] = [item for item in of_kind(objects, "PersistentVolumeClaim") if "gallery" in item["metadata"]["name"]]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    storage = claim["spec"]["resources"]["requests"]["storage"]
    assert int(storage.removesuffix("Gi")) * 1024**3 >= settings.gallery_bytes + 1024**3


def test_compiled_steps_are_one_component_with_a_volume_and_time_to_start() -> None:
    base = {
        item["metadata"]["name"]: pod(item)["spec"]["containers"][0] for item in of_kind(rendered_with(), "Deployment")
    }
    objects = rendered_with("components/compile")
    [claim] = [item for item in of_kind(objects, "PersistentVolumeClaim") if "compiled" in item["metadata"]["name"]]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    kinds: dict[str, type[DiffusionSettings]] = {"imgedit-fill": FillSettings, "imgedit-qwen-edit": QwenEditSettings}
    for service, kind in kinds.items():
        [data] = [
            item["data"] for item in of_kind(objects, "ConfigMap") if item["metadata"]["name"].startswith(service)
        ]
        settings = kind(**{field: data[kind.variable(field)] for field in ("compile", "compile_cache", "warm_sizes")})
        assert settings.compile == "regional"
        assert read_warm_sizes(settings)
        [deployment] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == service]
        [container] = pod(deployment)["spec"]["containers"]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert Path(mounts["compiled"]["mountPath"]) in Path(settings.compile_cache).parents
        assert not mounts["compiled"].get("readOnly")
        volumes = {volume["name"]: volume for volume in pod(deployment)["spec"]["volumes"]}
        assert volumes["compiled"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        probe = container["startupProbe"]
        seconds = probe["periodSeconds"] * probe["failureThreshold"]
        usual = base[deployment["metadata"]["name"]]["startupProbe"]
        assert seconds > usual["periodSeconds"] * usual["failureThreshold"]
        assert deployment["spec"]["progressDeadlineSeconds"] > seconds


def test_webhooks_are_one_component_with_egress_to_public_addresses() -> None:
    objects = rendered_with("components/webhooks")
    orchestrator = "imgedit-orchestrator"
    [data] = [
        item["data"] for item in of_kind(objects, "ConfigMap") if item["metadata"]["name"].startswith(orchestrator)
    ]
    secret = Path(data["IMGEDIT_ORCHESTRATOR_WEBHOOK_SECRET_FILE"])
    assert read_allowed_hosts(data["IMGEDIT_ORCHESTRATOR_WEBHOOK_HOSTS"])
    [deployment] = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == orchestrator]
    [container] = pod(deployment)["spec"]["containers"]
    assert str(secret.parent) in [mount["mountPath"] for mount in container["volumeMounts"]]
    [policy] = [item for item in of_kind(objects, "NetworkPolicy") if item["metadata"]["name"].endswith("-webhooks")]
    [egress] = policy["spec"]["egress"]
    assert egress["ports"] == [{"port": 443}]
    for block in egress["to"]:
        for network in block["ipBlock"].get("except", []):
            assert not is_public(str(ip_network(network)[1]))


@pytest.mark.parametrize("component", ["answer-store", "answer-store-tls"])
def test_the_answer_store_takes_calls_of_orchestrators_alone(component: str) -> None:
    objects = rendered_with(f"components/{component}")
    settings = settings_in(objects)["imgedit-orchestrator"]
    assert isinstance(settings, OrchestratorSettings)
    assert settings.store_insecure == (component == "answer-store")
    store_connection.open_store(settings.model_copy(update={"store_password_file": "", "store_tls_ca": ""}), ADMISSION)
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "NetworkPolicy")}
    orchestrators, store = ({"app.kubernetes.io/name": owner} for owner in ("imgedit-orchestrator", STORE))
    assert policies[STORE]["ingress"] == [
        {"from": [{"podSelector": {"matchLabels": orchestrators}}], "ports": [{"port": 6379}]}
    ]
    assert not policies[STORE].get("egress")
    assert {"to": [{"podSelector": {"matchLabels": store}}], "ports": [{"port": 6379}]} in policies[
        "imgedit-orchestrator"
    ]["egress"]


def test_the_configuration_of_the_answer_store_is_within_its_pod() -> None:
    """A real server takes it, and holds more than orchestrators fill."""
    file = K8S / "components/answer-store/valkey.conf"
    with redis_server(config=file) as server, redis.Redis(unix_socket_path=str(server.socket)) as client:
        known = client.config_get("maxmemory*", "save", "appendonly")
        assert (known["save"], known["appendonly"], known["maxmemory-policy"]) == ("", "no", "volatile-lru")
        [deployment] = [
            item for item in of_kind(rendered_with("components/answer-store"), "Deployment")
            if item["metadata"]["name"] == STORE
        ]  # fmt: skip
        [container] = pod(deployment)["spec"]["containers"]
        largest = int(known["maxmemory"])
        assert OrchestratorSettings().store_max_bytes * 4 / 3 < largest
        assert largest * 1.5 < quantity(container["resources"]["limits"]["memory"])


def test_every_mount_has_its_volume_and_every_reference_its_object(objects: list[Object]) -> None:
    made_elsewhere = {
        f"imgedit-{secret}" for secret in ("service-token", "api-tokens", "hub-token", "studio-token", "answer-store")
    }
    known = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for item in workloads(objects):
        spec = pod(item)["spec"]
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        mounted = {mount["name"] for container in containers(item) for mount in container.get("volumeMounts", [])}
        assert mounted == set(volumes), name(item)
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known
            if "secret" in volume:
                secret = volume["secret"]["secretName"]
                certificates = {c["spec"]["secretName"] for c in of_kind(objects, "Certificate")}
                assert secret in made_elsewhere | certificates or ("Secret", secret) in known
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                has_claim = ("PersistentVolumeClaim", claim) in known
                assert has_claim or not of_kind(objects, "CronJob"), f"{name(item)}: nothing makes the claim {claim}"
        if "serviceAccountName" in spec:
            assert ("ServiceAccount", spec["serviceAccountName"]) in known


def test_nothing_runs_as_root_or_can_write_its_image(objects: list[Object]) -> None:
    for item in workloads(objects):
        spec = pod(item)["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not any(spec.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC"))
        for container in containers(item):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]


def test_every_container_has_requests_and_a_memory_limit_that_parse(objects: list[Object]) -> None:
    for item in workloads(objects):
        for container in containers(item):
            resources = container["resources"]
            assert quantity(resources["requests"]["cpu"]) > 0
            assert 0 < quantity(resources["requests"]["memory"]) <= quantity(resources["limits"]["memory"])
        for volume in pod(item)["spec"].get("volumes", []):
            if "emptyDir" in volume:
                assert quantity(volume["emptyDir"]["sizeLimit"]) > 0


def test_no_service_links_that_would_read_as_settings(objects: list[Object]) -> None:
    assert all(pod(item)["spec"]["enableServiceLinks"] is False for item in workloads(objects))


def test_a_pod_lives_long_enough_to_finish_the_longest_edit(objects: list[Object]) -> None:
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap") if "data" in item}
    for item in of_kind(objects, "Deployment"):
        if item["metadata"]["name"] == STORE:
            continue  # which no edit needs
        spec = pod(item)["spec"]
        [container] = spec["containers"]
        before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        settings = SETTINGS.get(item["metadata"]["name"])
        if settings is None:  # Envoy and Streamlit end at once on SIGTERM: the sleep itself is the drain
            assert LONGEST_EDIT <= before < spec["terminationGracePeriodSeconds"]
            continue
        values = maps[container["envFrom"][0]["configMapRef"]["name"]]
        grace = float(values[settings.variable("grace_seconds")])
        drain = float(values.get(settings.variable("drain_seconds"), settings.model_fields["drain_seconds"].default))
        assert before + drain + grace < spec["terminationGracePeriodSeconds"]
        if item["metadata"]["name"] != "imgedit-segmentation":
            assert grace >= LONGEST_EDIT


def test_every_deployment_has_a_budget_a_policy_and_an_account_of_its_own(objects: list[Object]) -> None:
    for kind in ("PodDisruptionBudget", "NetworkPolicy", "ServiceAccount", "Service"):
        owners = {item["metadata"]["name"] for item in of_kind(objects, kind)}
        assert {item["metadata"]["name"] for item in of_kind(objects, "Deployment")} <= owners
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert all(item["spec"]["maxUnavailable"] == 1 for item in budgets)


def test_model_services_take_calls_from_the_orchestrator_alone(objects: list[Object]) -> None:
    caller = {"app.kubernetes.io/name": "imgedit-orchestrator"}
    stranger = {"app.kubernetes.io/name": "imgedit-edge"}
    for item in of_kind(objects, "NetworkPolicy"):
        settings = SETTINGS.get(item["metadata"]["name"])
        if settings is None or not issubclass(settings, ModelSettings):
            continue
        port = settings.model_fields["port"].default
        rules = [rule for rule in item["spec"]["ingress"] if {"port": port} in rule["ports"]]
        [rule] = rules
        assert all("podSelector" in source for source in rule["from"])
        assert any(matches(source["podSelector"], caller) for source in rule["from"])
        assert not any(matches(source["podSelector"], stranger) for source in rule["from"])


def test_the_policies_allow_what_the_services_call(objects: list[Object]) -> None:
    """Message limits match: a receiver accepts what its sender may send.

    The orchestrator to each model service, edge and page to it.
    """
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "NetworkPolicy")}
    for source, target, port in (
        ("imgedit-edge", "imgedit-orchestrator", 50051),
        ("imgedit-edge", "imgedit-openai-api", 8081),
        ("imgedit-openai-api", "imgedit-orchestrator", 50051),
        ("imgedit-studio", "imgedit-orchestrator", 50051),
        ("imgedit-orchestrator", "imgedit-segmentation", 50052),
        ("imgedit-orchestrator", "imgedit-fill", 50053),
        ("imgedit-orchestrator", "imgedit-qwen-edit", 50054),
    ):
        label = {"app.kubernetes.io/name": target}
        out = policies[source]["egress"]
        assert any(
            {"port": port} in rule["ports"] and any(matches(peer.get("podSelector", {}), label) for peer in rule["to"])
            for rule in out
        ), f"{source} may not call {target}"
        label = {"app.kubernetes.io/name": source}
        inward = policies[target]["ingress"]
        assert any(
            {"port": port} in rule["ports"]
            and any("podSelector" in peer and matches(peer["podSelector"], label) for peer in rule["from"])
            for rule in inward
        ), f"{target} does not take calls of {source}"


def test_a_gpu_is_given_back_before_the_next_pod_asks_for_it(production: list[Object]) -> None:
    for item in of_kind(production, "Deployment"):
        [container] = pod(item)["spec"]["containers"]
        if "nvidia.com/gpu" in container["resources"]["limits"]:
            assert item["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
            assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
            assert any(toleration["key"] == "nvidia.com/gpu" for toleration in pod(item)["spec"]["tolerations"])
    with_gpu = [
        item for item in of_kind(production, "Deployment")
        if "nvidia.com/gpu" in pod(item)["spec"]["containers"][0]["resources"]["limits"]
    ]  # fmt: skip
    assert len(with_gpu) == 3
    # The resource picks the node; a label that only some installations have would leave the pod pending.
    assert not any("nodeSelector" in pod(item)["spec"] for item in with_gpu)


def test_a_big_model_has_time_to_load(production: list[Object]) -> None:
    for item in of_kind(production, "Deployment"):
        if item["metadata"]["name"] in ("imgedit-fill", "imgedit-qwen-edit"):
            probe = pod(item)["spec"]["containers"][0]["startupProbe"]
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 1200
            # The old pod ends first, then GBs of image come, then the model loads.
            ending, pulling = pod(item)["spec"]["terminationGracePeriodSeconds"], 900
            assert item["spec"]["progressDeadlineSeconds"] > ending + pulling + 1200


def test_scaling_asks_for_a_metric_that_exists_and_never_reaches_none(production: list[Object]) -> None:
    scaled = of_kind(production, "ScaledObject")
    targets = {item["metadata"]["name"] for item in of_kind(production, "Deployment")}
    assert {item["spec"]["scaleTargetRef"]["name"] for item in scaled} <= targets
    for item in scaled:
        assert item["spec"]["minReplicaCount"] >= 1
        [trigger] = item["spec"]["triggers"]
        assert "imgedit_queue_depth" in trigger["metadata"]["query"]
        service = item["metadata"]["name"].removeprefix("imgedit-").replace("-", "_")
        assert f'service="{service}"' in trigger["metadata"]["query"]
        assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_the_dashboards_and_rules_reach_the_cluster(production: list[Object]) -> None:
    shipped = [
        item for item in of_kind(production, "ConfigMap") if item["metadata"].get("labels", {}).get("grafana_dashboard")
    ]
    assert {key for item in shipped for key in item["data"]} == {path.name for path in dashboards()}
    [rule] = of_kind(production, "PrometheusRule")
    source = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    assert rule["spec"] == source


def test_every_part_shows_the_certificate_that_the_others_expect(production: list[Object]) -> None:
    certificates = {item["metadata"]["name"]: item["spec"] for item in of_kind(production, "Certificate")}
    for service in (*SETTINGS, "imgedit-edge", PAGE, STORE):
        assert certificates[service]["dnsNames"] == [service]
        assert certificates[service]["secretName"] == f"{service}-tls"
    [envoy] = [
        item for item in of_kind(production, "ConfigMap") if item["metadata"]["name"].startswith("imgedit-envoy")
    ]
    for file, clusters in (
        (
            "edge-tls.json",
            {
                **dict.fromkeys(gateway.ORCHESTRATOR_CLUSTERS, "imgedit-orchestrator"),
                gateway.OPENAI_CLUSTER: "imgedit-openai-api",
            },
        ),
        ("sidecar-tls.json", {s: f"imgedit-{s.replace('_', '-')}" for s in ("segmentation", "fill", "qwen_edit")}),
    ):
        config = json.loads(envoy["data"][file])
        secured = {
            c["name"]: c["transport_socket"] for c in config["static_resources"]["clusters"] if "transport_socket" in c
        }
        assert {cluster: socket["typed_config"]["sni"] for cluster, socket in secured.items()} == clusters
    used = {arg for item in of_kind(production, "Deployment") for c in containers(item) for arg in c.get("args", [])}
    assert {"/etc/envoy/edge-tls.json", "/etc/envoy/sidecar-tls.json"} <= used


def test_the_demo_models_replace_the_volume_of_weights() -> None:
    objects = render(K8S / "overlays/kind-demo")
    for item in of_kind(objects, "Deployment"):
        if item["metadata"]["name"] in ("imgedit-segmentation", "imgedit-fill", "imgedit-qwen-edit"):
            volumes = {volume["name"]: volume for volume in pod(item)["spec"]["volumes"]}
            assert "emptyDir" in volumes["models"]
            assert not any("persistentVolumeClaim" in volume for volume in volumes.values())
            assert pod(item)["spec"]["initContainers"][0]["volumeMounts"][0]["name"] == "models"


def test_every_image_is_one_that_is_built_here_or_pinned(objects: list[Object]) -> None:
    built = {
        line.split(" AS ")[1].strip()
        for line in (ROOT / "deploy/docker/Dockerfile").read_text().splitlines()
        if line.startswith("FROM ")
    }
    for item in workloads(objects):
        for container in containers(item):
            image, _, tag = container["image"].partition(":")
            own = OWN_IMAGES.fullmatch(image)
            if own:
                assert own[1] in built, image
            else:
                assert image in ("envoyproxy/envoy", "valkey/valkey")
                assert tag not in ("", "latest")
