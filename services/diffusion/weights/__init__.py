"""Weight files: checked, compared with their network, read, converted.

Nothing here runs a network.
"""
