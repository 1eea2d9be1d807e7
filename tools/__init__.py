"""Tools for maintainers: `make wheel`, `make release` and the prose check."""
