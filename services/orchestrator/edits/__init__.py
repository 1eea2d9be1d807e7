"""Running edits: admission, joining, progress, and the editor that makes one.

No stages and no pixel work.
"""
