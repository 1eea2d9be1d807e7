"""How well the demo's checkpoints edit: every row of the table, on held-out scenes, through the real services only."""
