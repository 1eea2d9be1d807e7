"""Benchmarks: each drives the real thing, and prints a table and a JSON object.

The JSON object is the last line. Nothing that serves imports this package.
"""
