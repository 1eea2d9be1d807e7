"""Container images: build them, and run compose.yaml or the manifests from them.

Nothing here runs inside a container.
"""
