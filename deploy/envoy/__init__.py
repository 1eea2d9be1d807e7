"""Envoy's part of the deployment: the edge, the orchestrator's sidecar, and the files that they read.

Envoy on one machine, without containers, is `imgedit.local.gateway`.
"""
