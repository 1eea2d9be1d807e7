"""What writes and measures parts of the manual in docs/.

Nothing that runs imports it.
"""
