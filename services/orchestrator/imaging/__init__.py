"""Array operations on masks and images, in plain NumPy."""
