"""Edits under way: admission, joining, progress, and the editor that makes one.

Everything else serves this.
"""
