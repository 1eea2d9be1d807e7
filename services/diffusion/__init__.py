"""The common part of the diffusion services: engine, networks, weights, streaming.

Code of a single model lives in services.fill or services.qwen_edit.
"""
