"""Envoy's part of the deployment.

The edge, the orchestrator's sidecar, and their files.
"""
