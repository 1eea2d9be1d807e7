"""The experiment catalogue: its models, its checks, its sources. Knows no request."""
