"""Clients of the model services.

They know no chain and no public request.
"""
