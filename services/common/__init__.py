"""Code that every imgedit server shares.

It knows no model, no edit and no single service.
"""
