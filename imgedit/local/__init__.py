"""What `imgedit up` and `imgedit doctor` need.

Processes, ports and Envoy on this machine. No image work.
"""
