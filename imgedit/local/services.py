"""The table of the services of a stack.

The supervisor, the orchestrator's settings, Envoy's configurations and the settings reference take names and ports from
it. Compose, the manifests, the Dockerfile and Prometheus's jobs are edited by hand;
`tests/deploy/test_service_table.py` checks them against this table. docs/extending.md explains how to add a service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_SERVICES = 10
"""For so many `imgedit.local.ports` has numbers."""


@dataclass(frozen=True)
class ServiceRow:
    """One service.

    name: of its package `services.<name>`, its settings IMGEDIT_<NAME>_* and its configuration in the orchestrator.
    port, metrics_port: of its first replica on one machine, and of every pod in a cluster. gRPC ports follow one
    another in the order of the table; no two metrics ports are the same. model: folder of its published checkpoint;
    None = it runs no model. speaks: what its port takes.
    """

    name: str
    port: int
    metrics_port: int
    model: str | None = None
    speaks: Literal["grpc", "http"] = "grpc"

    @property
    def image(self) -> str:
        """Its container image and its objects in a cluster, as in "imgedit-qwen-edit"."""
        return f"imgedit-{self.name.replace('_', '-')}"


ORCHESTRATOR = ServiceRow("orchestrator", 50051, 9101)

MODEL_SERVICES = (
    ServiceRow("segmentation", 50052, 9102, "BEN2"),
    ServiceRow("fill", 50053, 9103, "FLUX.1-Fill-dev"),
    ServiceRow("qwen_edit", 50054, 9104, "Qwen-Image-Edit-2509"),
)
"""The services that the orchestrator calls."""

OPENAI_API = ServiceRow("openai_api", 8081, 9105, speaks="http")
"""Another protocol for the orchestrator's callers. The edge alone calls it, and it goes where the edge goes."""

TABLE = (ORCHESTRATOR, *MODEL_SERVICES, OPENAI_API)

SERVICES = tuple(row.name for row in (ORCHESTRATOR, *MODEL_SERVICES))
"""The names of those that speak gRPC, in the order of their ports."""
