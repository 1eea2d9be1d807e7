"""Array operations on masks and images, in plain NumPy.

No requests, no stages, no network.
"""
