"""Grafana dashboards as code. No alerts: these are in `deploy.prometheus`."""
