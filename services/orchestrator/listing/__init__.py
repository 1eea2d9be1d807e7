"""The response of `ListExperiments`: pages, parameters, availability.

Nothing here runs an edit.
"""
