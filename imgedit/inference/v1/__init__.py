"""The generated messages and stubs of package imgedit.inference.v1 (see protos/; `make protos` writes them anew)."""
