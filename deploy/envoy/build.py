"""Generate Envoy's files from the protos and the two configurations.

api.binpb and openapi.json, the scripts from lua/, and cluster/, the configurations with a cluster's addresses. All are
committed, so that neither a cluster nor `imgedit up --gateway` needs a compiler.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import google.api
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.envoy import openai_paths, scripts
from deploy.envoy.openapi import OpenApi
from imgedit import __version__
from imgedit.local import gateway
from imgedit.local.gateway import Address, Mutual
from imgedit.local.services import MODEL_SERVICES, OPENAI_API, ORCHESTRATOR

FOLDER = Path(__file__).parent
PROTOS = FOLDER.parents[1] / "protos"
SERVICE = "imgedit.v1.EditService"

SIDECAR_PORT = 15052
"""Where a pod's sidecar listens for the first model service; the others follow."""
EVERYWHERE = "0.0.0.0"
MOUNTED = Path("/etc/envoy")
"""Where a pod finds Envoy's files."""


TLS = Path("/etc/imgedit/tls")
"""Where a pod finds its certificate, as cert-manager writes it."""

CERTIFICATES = gateway.secret_files(TLS / "tls.crt", TLS / "tls.key", TLS / "ca.crt")
FROM_EDGE = Mutual(
    MOUNTED,
    False,
    {**dict.fromkeys(gateway.ORCHESTRATOR_CLUSTERS, ORCHESTRATOR.image), gateway.OPENAI_CLUSTER: OPENAI_API.image},
)
TO_MODEL_SERVICES = Mutual(MOUNTED, True, {row.name: row.image for row in MODEL_SERVICES})

# Envoy returns an empty body for errors with details unless it knows their messages.
SOURCES = ("imgedit/v1/edit.proto", "google/rpc/error_details.proto", "google/rpc/status.proto")


def files() -> dict[Path, bytes]:
    """The expected content of each file."""
    compiled = compile_protos()
    document = OpenApi(compiled, version=__version__).describe(SERVICE)
    openai_paths.add(document)
    for file in compiled.file:
        file.ClearField("source_code_info")
    return {
        FOLDER / "api.binpb": compiled.SerializeToString(deterministic=True),
        FOLDER / "openapi.json": _text(document, indent=None),
        FOLDER / "headers.lua": scripts.headers(compiled, SERVICE),
        FOLDER / "body.lua": scripts.body(compiled, SERVICE),
        FOLDER / "cluster" / "edge.json": _text(cluster_edge()),
        FOLDER / "cluster" / "sidecar.json": _text(cluster_sidecar()),
        FOLDER / "cluster" / "edge-tls.json": _text(cluster_edge(FROM_EDGE)),
        FOLDER / "cluster" / "sidecar-tls.json": _text(cluster_sidecar(TO_MODEL_SERVICES)),
        **{FOLDER / "cluster" / name: _text(content) for name, content in CERTIFICATES.items()},
    }


def cluster_edge(upstream: Mutual | None = None) -> gateway.Config:
    """The edge of a cluster: public, with all orchestrators of a headless Service."""
    return gateway.edge(
        public=Address(8080, EVERYWHERE),
        metrics=Address(9100, EVERYWHERE),
        admin=Address(9901),
        orchestrators=[Address(ORCHESTRATOR.port, ORCHESTRATOR.image)],
        openai=[Address(OPENAI_API.port, OPENAI_API.image)],
        files=MOUNTED,
        upstream=upstream,
    )


def cluster_sidecar(upstream: Mutual | None = None) -> gateway.Config:
    """The sidecar of a cluster.

    Local to its pod, with all replicas of headless Services.
    """
    return gateway.sidecar(
        listeners={row.name: Address(SIDECAR_PORT + place) for place, row in enumerate(MODEL_SERVICES)},
        replicas={row.name: [Address(row.port, row.image)] for row in MODEL_SERVICES},
        metrics=Address(9110, EVERYWHERE),
        admin=Address(9902),
        upstream=upstream,
    )


def _text(document: gateway.Config, indent: int | None = 0) -> bytes:
    # Tight, a ConfigMap holds all of them; but a line for each value, so that changes can be read.
    return (json.dumps(document, indent=indent, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def compile_protos(sources: Sequence[str] = SOURCES) -> FileDescriptorSet:
    """The protos and all their imports, with comments."""
    includes = Path(next(iter(google.api.__path__))).parents[1]
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "api.binpb")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{includes}", "--include_imports"]
        options = ["--include_source_info", f"--descriptor_set_out={target}"]
        subprocess.run([*command, *options, *sources], check=True)
        return FileDescriptorSet.FromString(target.read_bytes())
