"""`python -m deploy.build [--check]`: generate the derived files in deploy/.

Envoy's files from the protos, Grafana's dashboards from their code, Prometheus's rules from their template and limits.
All are committed; --check tells whether they are current.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.envoy import build as envoy
from deploy.grafana import panels
from deploy.grafana.dashboards import DASHBOARDS
from deploy.prometheus import rules

FOLDER = Path(__file__).parent


def main() -> int:
    """Write the files, or compare them with their expected content."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not current")
    is_check = parser.parse_args().check
    stale = []
    for path, content in made().items():
        if is_check and (not path.exists() or path.read_bytes() != content):
            stale.append(str(path.relative_to(FOLDER.parent)))
        elif not is_check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    if stale:
        print(f"not current, run `make protos`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


def made() -> dict[Path, bytes]:
    """The contents of each generated file."""
    prometheus = FOLDER / "prometheus"
    made_rules = {prometheus / "rules.yaml": rules.rules(), prometheus / "prometheusrule.yaml": prometheus_rule()}
    return {**envoy.files(), **dashboards(), **made_rules}


def dashboards() -> dict[Path, bytes]:
    """The dashboards in Grafana's format."""
    found = {}
    for name, (korean, english, rows) in DASHBOARDS.items():
        document = panels.build(f"imgedit-{name}", korean, english, rows)
        text = json.dumps(document, cls=JSONEncoder, indent=1, ensure_ascii=False, sort_keys=True)
        found[FOLDER / "grafana" / "dashboards" / f"{name}.json"] = f"{text}\n".encode()
    return found


def prometheus_rule() -> bytes:
    """The rules as the Prometheus operator reads them."""
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "imgedit",
            "labels": {"app.kubernetes.io/name": "imgedit", "app.kubernetes.io/part-of": "imgedit"},
        },
        "spec": yaml.safe_load(rules.rules()),
    }
    head = "# Made from rules.template.yaml and limits.yaml by `make protos`.\n"
    return (head + yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=200)).encode()


if __name__ == "__main__":
    sys.exit(main())
