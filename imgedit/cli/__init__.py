"""The command `imgedit`: one module per command, and what commands share. Nothing outside this package imports it."""
