"""The API of the model services, for callers inside a cluster.

The public API is `imgedit.v1`.
"""
