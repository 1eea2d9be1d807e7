"""Training the demo's BEN2. Only `demo.train.__main__` and tests import it."""
