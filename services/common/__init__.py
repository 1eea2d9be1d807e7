"""Code that every imgedit server shares."""
