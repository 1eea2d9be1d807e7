"""The Deployments of rendered manifests as pods that `podman kube play` takes.

podman knows Pods, ConfigMaps and volumes, no cluster: `pod` changes what it cannot play, and says so.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

NOT_PLAYED = (
    "Services and their balancing, NetworkPolicies, PodDisruptionBudgets, more than one replica, preStop hooks, "
    "fsGroup, sizes of emptyDir volumes, the kubelet's probes (they are asked by the tests)"
)
"""Parts of the manifests that take effect in a cluster alone."""


@dataclass(frozen=True)
class Probe:
    """An HTTP probe of a container, its port by number."""

    container: str
    kind: str
    port: int
    path: str


def deployments(objects: Sequence[Object]) -> dict[str, Object]:
    """The Deployments, by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == "Deployment"}


def pod(deployment: Object, objects: Sequence[Object], addresses: Mapping[str, str]) -> list[Object]:
    """One pod of the Deployment, and the ConfigMaps that it mounts.

    addresses: of the Services' names, for /etc/hosts.
    """
    spec = copy.deepcopy(deployment["spec"]["template"]["spec"])
    name = deployment["metadata"]["name"]
    sidecars = [part for part in spec.get("initContainers", []) if part.get("restartPolicy") == "Always"]
    initial = [part for part in spec.pop("initContainers", []) if part.get("restartPolicy") != "Always"]
    spec["containers"] = [*sidecars, *spec["containers"]]
    if initial:
        spec["initContainers"] = initial
    for container in [*spec["containers"], *initial]:
        _simplify(container)
    for volume in spec.get("volumes", []):
        _rename(volume, name, [*spec["containers"], *initial])
    spec["hostAliases"] = [{"ip": ip, "hostnames": [host]} for host, ip in addresses.items()]
    spec.pop("topologySpreadConstraints", None)
    metadata = {
        "name": name,
        "labels": deployment["spec"]["template"]["metadata"]["labels"],
        # "once", podman's default, removes an init container that it may still take for running.
        "annotations": {"io.podman.annotations.init.container.type": "always"},
    }
    return [*_config_maps(objects), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]


def containers(played: Sequence[Object]) -> Iterator[Object]:
    """The containers of the pods among these objects."""
    for item in played:
        if item["kind"] == "Pod":
            yield from item["spec"].get("initContainers", [])
            yield from item["spec"]["containers"]


def probes(deployment: Object) -> Iterator[Probe]:
    """The probes of a Deployment's containers."""
    spec = deployment["spec"]["template"]["spec"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for kind in PROBES:
            if kind in container:
                asked = container[kind]["httpGet"]
                yield Probe(container["name"], kind, ports[asked["port"]], asked["path"])


def _simplify(container: Object) -> None:
    """Remove what podman would refuse, or do in its own way.

    Ports would be published on the host; probes need systemd and curl.
    """
    for key in ("ports", "lifecycle", "restartPolicy", *PROBES):
        container.pop(key, None)


def _rename(volume: Object, pod_name: str, containers: Sequence[Object]) -> None:
    """Make a volume the pod's own, and a ConfigMap of each Secret.

    podman keeps an emptyDir as a volume by its name, which all pods would share, and writes Secrets in base64.
    """
    if "secret" in volume:
        volume["configMap"] = {"name": volume.pop("secret")["secretName"]}
    if "emptyDir" in volume:
        old, volume["name"] = volume["name"], f"{pod_name}-{volume['name']}"
        for container in containers:
            for mount in container.get("volumeMounts", []):
                if mount["name"] == old:
                    mount["name"] = volume["name"]


def _config_maps(objects: Sequence[Object]) -> Iterator[Object]:
    for item in objects:
        if item["kind"] == "ConfigMap":
            yield item
        elif item["kind"] == "Secret":
            text = {key: base64.b64decode(value).decode() for key, value in item["data"].items()}
            yield {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": item["metadata"]["name"]},
                "data": text,
            }
