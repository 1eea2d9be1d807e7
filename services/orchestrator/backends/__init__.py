"""Clients of the model services. Knows no chain and no public request."""
