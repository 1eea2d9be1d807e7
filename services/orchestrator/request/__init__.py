"""From a request to checked values: parameters, mask, margins, prompts, files.

Nothing here runs a stage or calls a service.
"""
