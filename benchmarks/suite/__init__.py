"""All benchmarks in one run, its record, and two records compared.

Does not measure anything by itself: each benchmark is a program of its own, and the last line of its output is a JSON
object.
"""
