"""Import ComfyUI workflows as experiments.

A file is read, its graph checked, the chain planned, and the plan written as YAML with reasons.

No workflow is run and no ComfyUI is called.
"""
