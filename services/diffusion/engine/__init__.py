"""The denoising engine: jobs, their order and their events. Never imports torch; an adapter does the numbers."""
