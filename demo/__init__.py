"""The demo: sample pictures, tiny checkpoints, and a run of the whole stack on them. Production never imports it."""
