"""The command `imgedit`: one module per subcommand, and their shared code."""
