"""The denoising engine of the diffusion services.

It schedules jobs before every step.
"""
