"""`make release VERSION=0.2.0`: check, write the version, commit, build, tag.

Nothing is changed before every check has passed, and nothing is pushed or uploaded. The tag comes last: after a failed
build, the same command resumes from the commit.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.version import InvalidVersion, Version

from tools import wheel

ROOT = Path(__file__).parents[1]
CHANGELOG = "CHANGELOG.md"
PLACEHOLDERS = ("git.example.org", "security@example.org")
"""The project's addresses until it has some."""
ADDRESSED = ("pyproject.toml", "SECURITY.md", "README.md", "README.ko.md", "docs/one-machine.md")
"""The hand-written files with these addresses."""

PLACES = (
    "imgedit/__init__.py",
    "deploy/docker/Dockerfile",
    "deploy/docker/compose.yaml",
    "deploy/k8s/overlays/production/kustomization.yaml",
)
"""The files in which the version stands by hand."""

STATED = re.compile(r'((?:__version__ = "|imgedit-[a-z-]+:|newTag: ))(\d[\w.]*)')
"""Its forms: in code, as an image tag, and in an overlay."""

REGENERATE = ("deploy.build", "docs_tools.build")
"""The generators of derived files, as in `make protos`."""


class Refusal(Exception):
    """The release is not possible; the message says what to do."""


def main() -> None:
    """Release the version of the command line."""
    try:
        tag, built = release(ROOT, sys.argv[1] if len(sys.argv) > 1 else "")
    except (Refusal, wheel.BuildError) as error:
        sys.exit(f"release: {error}")
    print(f"tagged {tag}, built {built}; to publish: git push --follow-tags")


def release(root: Path, text: str) -> tuple[str, Path]:
    """Release a version of the checkout at `root`; return the tag and the wheel.

    Raises `Refusal` for a failed check and `wheel.BuildError` for a failed build.
    """
    version = check(root, text)
    bump(root, version)
    if _git(root, "status", "--porcelain"):
        _git(root, "commit", "--all", "--quiet", "--message", f"Release {version}")
    built = wheel.build(root)
    tag = f"v{version}"
    _git(root, "tag", "--annotate", tag, "--message", f"imgedit {version}")
    return tag, built


def check(root: Path, text: str) -> str:
    """The version, if everything is ready for it.

    Raises `Refusal`.
    """
    version = _version(text)
    if _git(root, "status", "--porcelain"):
        raise Refusal("the working tree has changes; commit or remove them first")
    if _git(root, "tag", "--list", f"v{version}"):
        raise Refusal(f"the tag v{version} exists; choose the next version")
    current = _stated(root)
    if version < Version(current):
        raise Refusal(f"{version} is older than {current}, which imgedit/__init__.py states")
    for name in ADDRESSED:
        text = (root / name).read_text(encoding="utf-8")
        if found := [address for address in PLACEHOLDERS if address in text]:
            raise Refusal(f"{name}: replace {found[0]} with the project's address")
    _check_changelog((root / CHANGELOG).read_text(encoding="utf-8"), str(version))
    return str(version)


def _version(text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion:
        raise Refusal(f"{text!r} is not a version; try: make release VERSION=0.2.0") from None
    if str(version) != text:
        raise Refusal(f"write the version as {version}, not {text}")
    return version


def _stated(root: Path) -> str:
    """The current version of the package."""
    [(_, version)] = STATED.findall((root / PLACES[0]).read_text(encoding="utf-8"))
    return str(version)


def _check_changelog(text: str, version: str) -> None:
    """Require a dated, non-empty section of the version, and nothing unreleased."""
    sections = dict(_sections(text))
    if any(heading.startswith("[Unreleased]") and entries for heading, entries in sections.items()):
        raise Refusal(f"{CHANGELOG}: move the entries of [Unreleased] to a section [{version}]")
    entries = next((sections[heading] for heading in sections if heading.startswith(f"[{version}]")), None)
    if entries is None:
        raise Refusal(f"{CHANGELOG} has no section [{version}]")
    if not any(re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", heading) for heading in sections):
        raise Refusal(f"{CHANGELOG}: write the heading as ## [{version}] - YYYY-MM-DD")
    if not entries:
        raise Refusal(f"{CHANGELOG}: the section [{version}] has no entries")


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The heading of each section of the changelog, and its entries."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, *lines = section.splitlines()
        yield heading.strip(), [line for line in lines if line.startswith("- ")]


def bump(root: Path, version: str) -> None:
    """Write the version everywhere, and regenerate derived files."""
    current = _stated(root)
    for place in PLACES:
        path = root / place
        text = path.read_text(encoding="utf-8")
        path.write_text(
            STATED.sub(lambda found: found[1] + (version if found[2] == current else found[2]), text), encoding="utf-8"
        )
    for module in REGENERATE:
        _run(root, sys.executable, "-m", module)


def _git(root: Path, *arguments: str) -> str:
    return _run(root, "git", *arguments).strip()


def _run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Refusal(f"{' '.join(command[:3])}: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


if __name__ == "__main__":
    main()
