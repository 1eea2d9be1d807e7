"""Envoy's part of the deployment: the edge, the orchestrator's sidecar, and their files."""
