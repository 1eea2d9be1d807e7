"""Tools that generate and measure parts of the manual in docs/."""
