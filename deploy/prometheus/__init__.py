"""Rules, alerts and their limits."""
