"""Commands about this machine: run, show and stop services, and check the setup.

No edits.
"""
