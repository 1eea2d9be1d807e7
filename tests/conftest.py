"""What every test needs before torch is imported."""

import os

# Tests share the cores with the servers they start: torch's threads must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
