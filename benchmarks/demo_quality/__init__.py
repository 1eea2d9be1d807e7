"""How well the demo's checkpoints edit, on held-out scenes.

Every row of the table, through the real services only.
"""
