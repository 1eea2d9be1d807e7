"""Everything that runs imgedit in production: containers, Kubernetes, Envoy, Prometheus, Grafana."""
