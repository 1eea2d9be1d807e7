"""ComfyUI workflows as experiments: a file in, a checked graph, a plan of the chain, and YAML with its reasons.

Runs no workflow and calls no ComfyUI.
"""
