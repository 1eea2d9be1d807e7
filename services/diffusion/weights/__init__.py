"""Weight files: checked, compared with their network, read, converted."""
