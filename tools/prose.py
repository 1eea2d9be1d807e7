"""Find stumbling English: `python -m tools.prose [FILE …]`.

Prints FILE:LINE and the fix, and exits with 1. It reads paragraphs of Markdown, comments of protos and the Makefile,
and docstrings, comments and strings of Python. In tests, strings are data and are skipped. `# prose: off` at the end of
a line skips the text that begins there. Without FILE, it reads every tracked file but generated ones.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIPPED = ("imgedit/v1/", "imgedit/inference/v1/", "docs/reference/", "demo/models/", "tools/prose.py")
"""Generated files, and the examples in this one."""
MAX_SUMMARY = 80
OFF = "prose: off"

SENTENCE = r"(?:^|(?<=[.:;!] ))"
"""The start of a sentence or of a clause behind a colon."""


@dataclass(frozen=True)
class Rule:
    """A stumbling construction.

    `bad` and `good` are an example; the tests check the rule against both.
    """

    pattern: str
    advice: str
    bad: str
    good: str


RULES = (
    Rule(
        SENTENCE + r"(?:What(?:ever)?(?! to )|Who(?:ever)?|That which|All that)\b[^.?]*(?:\.|;|$)",
        "name the subject: a noun, not what, who or all that",
        "What nobody expected becomes INTERNAL.",
        "Unexpected exceptions become INTERNAL.",
    ),
    Rule(
        r"\b(?:whoever|Whoever|that which|all that)\b",
        "name the thing or the person",
        "all that is unused is returned",
        "all unused memory is returned",
    ),
    Rule(
        r"(?<!instead )\bof (?:its|their|his|her|your|our|my|the \w+'s) own\b",
        'write a possessive: "its own X"',
        "a process of its own",
        "its own process",
    ),
    Rule(
        r"\bof (?:yours|theirs|ours|mine|hers|the caller's)(?=[,.;:)]|$| (?:and|or|in|is|are|has)\b)",
        'write a possessive: "your X", "the caller\'s X"',
        "a mask of yours",
        "your own mask",
    ),
    Rule(r"\banew\b", 'write "again", or a verb with re-', "SIGHUP reads it anew", "SIGHUP reloads it"),
    Rule(
        r"\b(?:is|are|was|were|be|been) asked for\b",
        'write "requested"',
        "the place that was asked for",
        "the requested place",
    ),
    Rule(
        r"\b(?:stands?|stood) (?:in|at|there|beside|before|behind|on|here|above|below|alone)\b",
        'write "is in", "is listed in", "precedes"',
        "settings stand in the reference",
        "settings are in the reference",
    ),
    Rule(
        r"\b(?:go|goes|going|gone|went) on\b",
        'write "continue" or "resume"',
        "the service goes on",
        "the service continues",
    ),
    Rule(
        r"\b[Kk]nows? nothing\b|\b(?:makes?|holds?|leaves?) nothing of\b|\bnothing of use\b",
        "say what it does; what it must not import is held by a test",
        "Knows nothing of requests.",
        "Counts edits.",
    ),
    Rule(
        r"\b(?:is|are|was|were|be) told\b(?! to\b)|\btells? of\b|\btold by\b",
        'write "reports" or "is reported"',
        "the cut is told in warnings",
        "warnings report the cut",
    ),
    Rule(
        r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|later\b|better\b|such\b)\w+",
        'write "is not a"',
        "GPU duty cycle is no measure",
        "GPU duty cycle is not a measure",
    ),
    Rule(r"\bin the place of\b", 'write "instead of"', "in the place of the weights", "instead of the weights"),
    Rule(
        r"\bwhat (?:\S+ ){1,4}makes? of\b|\bmakes? nothing of\b",
        "name the result",
        "what the VAE makes of them",
        "their VAE reconstructions",
    ),
    Rule(r"\bbesides(?=[.,;:)]|$)", 'write "also"', "needed besides.", "also needed."),
    Rule(r"\bonce more\b", 'write "again"', "decodes once more", "decodes again"),
    Rule(
        r"\b(?:gives?|gave|giving) back\b|\bgiven back\b",
        'write "returns" or "releases"',
        "memory is given back",
        "memory is released",
    ),
    Rule(r"\bmend(?:s|ed|ing)?\b", 'write "fix"', "mend it before", "fix it before"),
    Rule(r"\bfor ever\b", 'write "forever"', "waits for ever", "waits forever"),
    Rule(r"\btaken up again\b|\bgone on with\b", 'write "resumed"', "is taken up again", "is resumed"),
)


@dataclass
class Fragment:
    """Connected prose.

    Line breaks do not separate words; `starts` maps offsets back to lines.
    """

    path: str
    text: str = ""
    starts: list[tuple[int, int]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Append the text of one line of the file."""
        if self.text:
            self.text += " "
        self.starts.append((len(self.text), line))
        self.text += text.strip()

    def line_at(self, offset: int) -> int:
        """The line of the file at an offset of `text`."""
        return [line for start, line in self.starts if start <= offset][-1]


def faults(fragment: Fragment) -> Iterator[str]:
    """One line per stumbling construction: place, advice and words."""
    for rule in RULES:
        for match in re.finditer(rule.pattern, fragment.text):
            yield f"{fragment.path}:{fragment.line_at(match.start())}: {rule.advice}: {match[0][:60]!r}"


def markdown(path: str, source: str) -> Iterator[Fragment]:
    """Paragraphs, headings, list items and table cells, without code."""
    in_code = False
    fragment = Fragment(path)
    for number, line in enumerate(source.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("```"):
            in_code = not in_code
        breaks = in_code or not stripped or bool(re.match(r"```|[#|>!]|<!--|[-*] |\d+\. ", stripped))
        if breaks:
            yield fragment
            fragment = Fragment(path)
        if in_code or not stripped or stripped.startswith(("```", "<!--")):
            continue
        if stripped.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", stripped):
                cell_fragment = Fragment(path)
                cell_fragment.add(number, _without_code(cell))
                yield cell_fragment
            continue
        fragment.add(number, _without_code(re.sub(r"^(?:[#>]+|[-*]|\d+\.) ", "", stripped)))
    yield fragment


def _without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "`x`", text)


def comments(path: str, source: str, sign: str) -> Iterator[Fragment]:
    """Comments that begin with `sign`; consecutive comment lines are one fragment."""
    fragment = Fragment(path)
    for number, line in enumerate(source.splitlines(), start=1):
        code, found, comment = line.partition(sign)
        if not found or (code.strip() and fragment.text):
            yield fragment
            fragment = Fragment(path)
        if found:
            fragment.add(number, comment.lstrip("#"))
    yield fragment


def python(path: str, source: str) -> Iterator[Fragment]:
    """Docstrings and comments, and the strings of everything but tests."""
    lines = source.splitlines()
    tree = ast.parse(source)
    docstrings = {text.line for text in _docstrings(tree)}
    for node in ast.walk(tree):
        text = _text(node)
        if text is None or OFF in lines[text.last_line - 1]:
            continue
        if text.line in docstrings or not path.startswith("tests/"):
            for paragraph in re.finditer(r"(?:.+\n?)+", text.value):
                fragment = Fragment(path)
                before = text.value[: paragraph.start()].count("\n")
                for index, words in enumerate(paragraph[0].splitlines()):
                    fragment.add(text.line + before + index, _without_code(words))
                yield fragment
    fragment, last = Fragment(path), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and OFF not in token.string:
            if token.start[0] != last + 1:
                yield fragment
                fragment = Fragment(path)
            fragment.add(token.start[0], token.string.lstrip("# "))
            last = token.start[0]
    yield fragment


@dataclass(frozen=True)
class _Text:
    """A string of a Python file."""

    value: str
    line: int
    last_line: int


def _text(node: ast.AST) -> _Text | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _Text(node.value, node.lineno, node.end_lineno or node.lineno)
    return None


def _docstrings(tree: ast.AST) -> Iterator[_Text]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            text = _text(first.value) if isinstance(first, ast.Expr) else None
            if text is not None:
                yield text


def long_summaries(path: str, source: str) -> Iterator[str]:
    """Docstrings whose first line exceeds `MAX_SUMMARY` or continues on the next line."""
    lines = source.splitlines()
    for text in _docstrings(ast.parse(source)):
        if OFF in lines[text.last_line - 1]:
            continue
        paragraph = re.split(r"\n\s*\n", text.value.strip())[0]
        if len(paragraph) > MAX_SUMMARY or "\n" in paragraph:
            advice = f"a docstring begins with one line of at most {MAX_SUMMARY} characters, then a blank line"
            yield f"{path}:{text.line}: {advice}: {paragraph[:60]!r}"


def check(path: str, source: str) -> list[str]:
    """Every fault in a file; its name decides the format."""
    found: list[str] = []
    if path.endswith(".py"):
        fragments, found = python(path, source), list(long_summaries(path, source))
    elif path.endswith(".md"):
        fragments = markdown(path, source)
    elif path.endswith(".proto"):
        fragments = comments(path, source, "//")
    else:
        fragments = comments(path, source, "#")
    return found + [fault for fragment in fragments for fault in faults(fragment)]


def files() -> list[str]:
    """Every tracked file with prose, except generated ones."""
    done = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.proto", "Makefile"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in dict.fromkeys(done.stdout.splitlines()) if not name.startswith(SKIPPED)]


def main(names: list[str]) -> int:
    """Check the files, or all of them, and print the faults."""
    found = [
        fault
        for name in names or files()
        if (ROOT / name).is_file()
        for fault in check(name, (ROOT / name).read_text(encoding="utf-8"))
    ]
    print("\n".join(found), file=sys.stderr)
    if found:
        print(f"{len(found)} places to reword; CONTRIBUTING.md has the rules", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
