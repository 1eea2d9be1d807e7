"""The denoising engine: jobs, schedule and events.

Never imports torch; an adapter does the numbers.
"""
