"""The response of `ListExperiments`: pages, parameter specifications, availability. Runs no edit."""
