"""Import ComfyUI workflows as experiments.

A file is read, its graph checked, the chain planned, and the plan written as YAML with reasons.
"""
