"""The API of the model services, for callers inside a cluster; the public API is `imgedit.v1`."""
