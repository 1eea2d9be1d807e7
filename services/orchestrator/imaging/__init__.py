"""Array work on masks and pictures.

Plain NumPy: no requests, no stages, no network.
"""
