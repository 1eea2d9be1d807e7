"""What maintainers run: `make wheel` and `make release`.

Nothing of the project imports it.
"""
