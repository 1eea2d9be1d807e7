"""--lora NAME[:SCALE] of the command line."""

from __future__ import annotations

import pytest
import typer

from imgedit.cli import edit_options
from imgedit.values import Lora


@pytest.mark.parametrize(
    ("given", "lora"),
    [("ink", Lora("ink")), ("수채화:0.8", Lora("수채화", 0.8)), ("a b.c:-1", Lora("a b.c", -1.0))],
)
def test_a_lora_has_a_name_and_maybe_a_scale(given: str, lora: Lora) -> None:
    assert edit_options._lora(given) == lora


@pytest.mark.parametrize("given", ["", ":1", "ink:", "ink:strong", "ink:1:2"])
def test_another_form_is_refused_by_name(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="--lora: must be NAME or NAME:SCALE"):
        edit_options._lora(given)
