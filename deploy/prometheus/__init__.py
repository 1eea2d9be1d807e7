"""Rules, alerts and their limits. No dashboards: these are in `deploy.grafana`."""
