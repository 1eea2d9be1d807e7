"""Benchmarks with real components.

Each prints a table and ends with one JSON object on the last line.
"""
