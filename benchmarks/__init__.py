"""Each benchmark drives the real thing, prints a table, and ends with one JSON object on the last line.

Nothing that runs imports it.
"""
