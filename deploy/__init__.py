"""The deployment: containers, Kubernetes, Envoy, Prometheus, Grafana.

The Python modules write such files; none of them runs in production.
"""
