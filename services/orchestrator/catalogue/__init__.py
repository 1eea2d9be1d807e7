"""The experiment catalogue: its experiments, its checks, its sources. Knows no request."""
