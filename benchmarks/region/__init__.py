"""Benchmarks of region steps.

Their savings at the published sizes, and their loss of quality in the demo's world. They call the models directly,
without the services.
"""
