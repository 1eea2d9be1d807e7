"""What every imgedit server shares."""
