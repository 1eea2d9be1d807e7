"""What every imgedit server shares. It knows no model, no edit and no service."""
