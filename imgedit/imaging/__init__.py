"""Image files: checks, containers, decoding, colour, encoding, provenance."""
