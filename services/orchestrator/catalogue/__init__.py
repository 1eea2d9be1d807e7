"""The experiment catalogue: models, checks and sources."""
