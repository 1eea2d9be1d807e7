"""The orchestrator: the public API, which chains the model services.

Needs no torch.
"""
