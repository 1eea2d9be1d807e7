"""The demo: sample images, tiny checkpoints, and a run of the whole stack."""
