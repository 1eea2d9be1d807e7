"""How latency, memory and processor time of an edit grow with its size and with the load."""
