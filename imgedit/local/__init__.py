"""Processes, ports and Envoy on this machine, for `imgedit up` and `imgedit doctor`."""
