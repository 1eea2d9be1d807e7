"""Where the tiny Qwen-Image-Edit's language model comes from.

Imports no torch: a current checkpoint costs nothing.
"""

from pathlib import Path

LANGUAGE_MODEL = Path(__file__).parents[1] / "models" / "Qwen-Image-Edit-2509"
LANGUAGE_PARTS = ("text_encoder", "tokenizer", "processor")
"""Folders that go into the tiny checkpoint as they are."""
