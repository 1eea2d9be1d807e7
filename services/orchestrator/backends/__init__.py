"""Clients of the model services."""
