"""Code on the device: networks, flow matching, guidance, LoRA, placement."""
