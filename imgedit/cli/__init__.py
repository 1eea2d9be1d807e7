"""The command `imgedit`: one module per subcommand, and their shared code.

Nothing outside this package imports it.
"""
