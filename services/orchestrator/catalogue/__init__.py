"""The experiment catalogue: experiments, checks, sources. Knows no request."""
