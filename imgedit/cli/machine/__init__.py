"""The commands about this machine: start, show and stop the services, check the installation. No edits."""
