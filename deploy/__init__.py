"""Deployment files: containers, Kubernetes, Envoy, Prometheus, Grafana."""
