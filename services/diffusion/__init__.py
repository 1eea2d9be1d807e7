"""The denoising engine that the diffusion services share: it decides at every step which job runs next."""
