"""What runs on the device: networks, flow matching, guidance, LoRA, placement. Knows no requests and no queue."""
