"""The generated messages and stubs of package imgedit.v1 (see protos/; `make protos` writes them anew)."""
