"""Envoy's part of the deployment.

The edge, the orchestrator's sidecar, and the files that they read.
"""
