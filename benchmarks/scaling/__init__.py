"""The growth of an edit's latency, memory and processor time, as exponents.

Does not judge: it measures, fits and draws.
"""
