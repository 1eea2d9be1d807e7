"""From a public request to checked values: parameters, mask, margins, prompts, files. Runs nothing."""
