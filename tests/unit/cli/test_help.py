"""Every command's help: within 80 columns, in both languages, by option names."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from google.protobuf.descriptor import Descriptor
from rich.cells import cell_len
from typer.testing import CliRunner

from imgedit import __version__
from imgedit.cli import field_names, korean
from imgedit.cli.help_layout import Command, Group, wrapped
from imgedit.cli.main import app
from imgedit.v1 import edit_pb2

ROOT = Path(__file__).parents[3]
CLI = ROOT / "imgedit" / "cli"

NOT_OFFERED = {"preview_every", "request_id", "output.omit"}
"""Fields of a request that the command line sets itself, or has no use for."""


def commands(command: Any = None, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


def said(*arguments: str, **environment: str) -> str:
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "80", "LANG": "C.UTF-8", **environment})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_no_line_of_the_help_is_wider_than_the_terminal(path: tuple[str, ...], language: str) -> None:
    text = said(*path, "--help", "--lang", language) if not path else said("--lang", language, *path, "--help")
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text.replace("-2.png …", "").replace("SUFFIX …", "").replace("확장자 …", "")


def test_every_command_has_this_help() -> None:
    assert all(isinstance(command, Command | Group) for _, command in commands())


def test_every_option_is_named_in_full_whatever_the_width() -> None:
    text = said("edit", "--help", COLUMNS="40")
    [edit] = [command for path, command in commands() if path == ("edit",)]
    missing = [name for one in edit.params for name in one.opts if name.startswith("--") and name not in text]
    assert not missing


def test_the_language_of_the_help_is_that_of_the_environment_or_the_option() -> None:
    assert said("--help").startswith("Usage:")
    assert said("--help", LANG="ko_KR.UTF-8").startswith("사용법:")
    assert said("--help", LC_ALL="C.UTF-8", LANG="ko_KR.UTF-8").startswith("Usage:")
    assert said("edit", "--help", "--lang=ko").startswith("사용법:")
    assert said("edit", "--lang", "en", "--help", LANG="ko_KR.UTF-8").startswith("Usage:")


def test_the_version_is_told() -> None:
    assert said("--version") == f"imgedit {__version__}\n"


def texts_of_the_help() -> set[str]:
    found = set()
    for _, command in commands():
        texts = [inspect.cleandoc(command.help or ""), command.epilog]
        for one in command.params:
            texts += [one.help, getattr(one, "rich_help_panel", None)]
        found |= {text for text in texts if text}
    return found | {"Show this message and exit."} | literals("translated")


def literals(function: str) -> set[str]:
    """The texts that a function of the command line is called with."""
    calls = (
        node
        for path in CLI.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    )
    named = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == function and call.args)
    return {str(call.args[0].value) for call in named if isinstance(call.args[0], ast.Constant)}


def test_every_text_of_the_help_has_a_korean_one_and_none_is_left_over() -> None:
    given = texts_of_the_help() | {"Commands", "Arguments", "Options"}
    assert given - set(korean.HELP) == set()
    assert set(korean.HELP) - given == set()


def test_every_message_has_a_korean_one_with_the_same_values() -> None:
    given = literals("say") | {constant for constant in korean.MESSAGES if constant.startswith("no --models")}
    assert given == set(korean.MESSAGES)
    for text, translation in korean.MESSAGES.items():
        values = {part.partition("}")[0] for part in text.split("{")[1:]}
        assert values == {part.partition("}")[0] for part in translation.split("{")[1:]}, text


def test_every_korean_text_is_korean() -> None:
    without = [
        text for text in (*korean.HELP.values(), *korean.MESSAGES.values()) if not any("가" <= s <= "힣" for s in text)
    ]
    assert without == ["~", " (DigitalSourceType: {source})"]


def paths(message: Descriptor, before: str = "") -> Iterator[str]:
    for field in message.fields:
        if field.message_type is None:
            yield f"{before}{field.name}"
        else:
            yield from paths(field.message_type, f"{before}{field.name}.")


def test_every_field_of_a_request_has_an_option_that_exists() -> None:
    [edit] = [command for path, command in commands() if path == ("edit",)]
    options = {name for one in edit.params for name in (*one.opts, *one.secondary_opts)} | {"IMAGE"}
    assert set(paths(edit_pb2.EditRequest.DESCRIPTOR)) - NOT_OFFERED == set(field_names.OPTIONS)
    assert set(field_names.OPTIONS.values()) <= options


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("guidance_scale", "--guidance-scale"),
        ("outpaint.left", "--left"),
        ("reference_images[1]", "--reference"),
        (
            "mask_options",
            "--mask-subject, --mask-invert, --mask-threshold, --mask-fill-holes, --mask-grow, --mask-feather",
        ),
        ("something_new", "something_new"),
    ],
)
def test_a_field_is_named_by_its_option(field: str, option: str) -> None:
    assert field_names.option_of(field) == option


def test_a_servers_text_speaks_of_options_and_leaves_words_alone() -> None:
    text = "has no effect without negative_prompt; take PROFILE_FAST, mask_options.grow_px or the prompt's seed"
    assert field_names.in_options(text) == (
        "has no effect without --negative-prompt; take fast, --mask-grow or the prompt's seed"
    )


def test_wide_characters_count_twice_and_long_words_are_cut() -> None:
    assert wrapped("가나다 라마바", 6) == ["가나다", "라마바"]
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrapped("가나다라", 5) == ["가나", "다라"]
