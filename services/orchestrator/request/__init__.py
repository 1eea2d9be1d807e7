"""From a request to checked values: parameters, mask, margins, prompts, files."""
