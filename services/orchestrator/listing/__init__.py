"""The response of `ListExperiments`: pages, parameter specs, availability."""
