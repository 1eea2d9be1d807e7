"""The denoising engine: jobs, their order and their events.

It never imports torch; an adapter computes.
"""
