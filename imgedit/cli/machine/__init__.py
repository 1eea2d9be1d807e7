"""The commands about this machine: run the services, see and end what runs, look whether all is in order."""
