"""Region steps: what they save at the published sizes, and what they cost in quality on the demo's world.

The models are called directly, without the services.
"""
