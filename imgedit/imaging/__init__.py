"""Image files: checks, containers, decoding, colour, encoding, provenance.

No models and no requests.
"""
