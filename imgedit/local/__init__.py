"""What `imgedit up` and `imgedit doctor` need: processes, ports and Envoy on this machine. No image work."""
