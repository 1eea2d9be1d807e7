"""Tools for maintainers: `make wheel`, `make release` and the prose check.

Nothing else in the project imports them.
"""
