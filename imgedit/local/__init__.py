"""Processes, ports and Envoy on this machine: `imgedit up` and `imgedit doctor`."""
