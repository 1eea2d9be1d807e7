"""The servers: one package per service, and what they share."""
