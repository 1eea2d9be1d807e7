"""The denoising engine that the diffusion services share.

It decides at every step which job runs next.
"""
