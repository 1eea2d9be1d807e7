"""Weight files: judged, compared with their network, read, converted. Runs no network."""
