"""From a public request to checked values.

Parameters, mask, margins, prompts, files. Runs nothing.
"""
