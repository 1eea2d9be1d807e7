"""Envoy's part of the deployment: the edge, the sidecar, and their files.

Envoy on one machine, without containers, is `imgedit.local.gateway`.
"""
