"""The stages of an edit and the chain that runs them.

Public requests are read in `request`, not here.
"""
