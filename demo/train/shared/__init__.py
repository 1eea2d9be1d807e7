"""Training code that all models share."""
