"""The stages of an edit and the chain that runs them."""
