"""The orchestrator: the public API, which chains the model services per experiment. Needs no torch."""
