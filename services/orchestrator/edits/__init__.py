"""Running edits: admission, joining, progress, and the editor."""
