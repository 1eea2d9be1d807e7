"""Everything that runs imgedit in production.

Containers, Kubernetes, Envoy, Prometheus, Grafana.
"""
