"""Image files: the door for untrusted ones, their containers, decoding, colour, encoding, provenance. No models."""
