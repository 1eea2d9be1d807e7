"""Commands about this machine: run, show and stop services, and check the setup.

No command here calls an edit server on another machine.
"""
