"""Stumbling constructions are found with file, line and advice.

Better wordings pass.
"""

from __future__ import annotations

import pytest

from tools import prose


@pytest.mark.parametrize("rule", prose.RULES, ids=lambda rule: rule.bad)
def test_a_stumbling_sentence_is_found_with_advice_and_the_better_one_passes(rule: prose.Rule) -> None:
    [fault, *_] = prose.check("docs/page.md", f"# Title\n\nA first line.\n{rule.bad}\n")
    assert fault.startswith("docs/page.md:4: ")
    assert f": {rule.advice}: " in fault
    assert prose.check("docs/page.md", f"{rule.good}\n") == []


def test_a_construction_is_found_over_a_line_break_with_the_line_where_it_begins() -> None:
    [fault] = prose.check("docs/page.md", "One.\nThe service goes\non as before.\n")
    assert fault.startswith("docs/page.md:2: ")


def test_code_is_not_prose() -> None:
    assert prose.check("docs/page.md", "```shell\necho it goes on\n```\n\nThe flag `goes on` is set.\n") == []
    assert prose.check("tests/test_x.py", 'PROMPT = "the service goes on"\n') == []


@pytest.mark.parametrize(
    ("path", "source", "line"),
    [
        ("services/x.py", 'X = 1\nTEXT = "the service goes on"\n', 2),
        ("services/x.py", "X = 1\n# One line.\n# The service goes\n# on.\n", 3),
        ("tests/x.py", '"""A module."""\n\n\ndef f():\n    """Whether it goes on."""\n', 5),
        ("protos/x.proto", "message A {\n  // Fine.\n  // The service goes on.\n}\n", 3),
        ("Makefile", "all:\nlint:  ## Check what goes on.\n", 2),
        ("docs/page.md", "| a | b |\n| --- | --- |\n| fine | it goes on |\n", 3),
        ("docs/page.md", "- fine\n- it goes on\n", 2),
    ],
)
def test_a_fault_is_found_by_its_line_in_every_kind_of_file(path: str, source: str, line: int) -> None:
    [fault] = prose.check(path, source)
    assert fault.startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("summary", ["A" * 81, "Two lines\n    of summary."])
def test_a_docstring_begins_with_one_short_line(summary: str) -> None:
    [fault] = prose.check("services/x.py", f'def f():\n    """{summary}\n\n    More.\n    """\n')
    assert fault.startswith("services/x.py:2: a docstring begins with one line of at most 80 characters")


def test_a_line_can_be_left_out_by_name() -> None:
    assert prose.check("services/x.py", 'LINE = "it goes on"  # prose: off\n') == []
