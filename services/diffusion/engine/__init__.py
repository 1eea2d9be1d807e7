"""The denoising engine: jobs, their schedule and their events. Never imports torch; an adapter does the numbers."""
