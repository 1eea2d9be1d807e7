"""How well the demo's checkpoints edit.

Every row of the table on held-out scenes, through the real services.
"""
