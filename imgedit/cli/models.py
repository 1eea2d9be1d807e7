"""The commands `imgedit models list`, `pull` and `verify`.

Words for what `models` and `models_pull` do.

`models convert` is in `convert`, `models adopt` in `adopt`.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from imgedit.cli import adopt, convert, exit_codes
from imgedit.cli.console import fail, message, need_folder, out, print_json
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.help_layout import Command, Group
from imgedit.errors import ModelDownloadError
from imgedit.weights import model_registry
from imgedit.weights.hub import PUBLIC_HUB

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Download, verify and convert weights.",
)
app.command("convert", cls=Command)(convert.convert)
app.command("adopt", cls=Command)(adopt.adopt)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

Folder = Annotated[
    Path,
    typer.Option(
        "--models",
        help="Folder that holds, or will hold, BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509.",
        envvar="IMGEDIT_MODELS",
    ),
]


class Name(StrEnum):
    """The downloadable models."""

    BEN2 = "ben2"
    FLUX_FILL = "flux-fill"
    QWEN_IMAGE_EDIT = "qwen-image-edit"
    QWEN_IMAGE_EDIT_2511 = "qwen-image-edit-2511"
    QWEN_LIGHTNING_LORA = "qwen-lightning-lora"
    FLUX_TURBO_LORA = "flux-turbo-lora"
    ALL = "all"


@app.command("list", cls=Command)
def list_models(
    folder: Annotated[
        Path | None, typer.Option("--models", help="Also show what is there.", envvar="IMGEDIT_MODELS")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models and their licences; with --models also the downloaded files."""
    if folder:
        need_folder(folder, "--models")
    locked = _read_lock(folder) if folder else {}
    if as_json:
        print_json({"models": [_described(source, folder, locked.get(source.key)) for source in _SOURCES]})
        return
    table = Table("name", "repository", "licence", *(["in " + str(folder)] if folder else []))
    table.columns[0].no_wrap = True
    for source in model_registry.CATALOGUE.values():
        gated = " (gated)" if source.gated else ""
        row = [source.key, source.repo + gated, escape(source.licence)]
        table.add_row(*row, *([_presence(folder, source, locked.get(source.key))] if folder else []))
    gguf = locked.get(model_registry.GGUF_KEY)
    files = ", ".join(sorted(gguf.files)) if gguf else "–"
    row = ["flux-fill --gguf FILE", model_registry.GGUF_REPO, escape(model_registry.FLUX_LICENCE)]
    table.add_row(*row, *([escape(files)] if folder else []))
    out.print(table)


@app.command(cls=Command)
def pull(
    names: Annotated[
        list[Name], typer.Argument(help="Models to download. all: the three that the services use by default.")
    ],
    folder: Folder,
    repo: Annotated[str | None, typer.Option(help="Download from this repository, OWNER/NAME.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the repository.")] = "main",
    gguf: Annotated[
        str | None,
        typer.Option(help="flux-fill: take the transformer's weights from this GGUF file of --gguf-repo instead."),
    ] = None,
    gguf_repo: Annotated[str, typer.Option(help="Repository of the GGUF file, OWNER/NAME.")] = model_registry.GGUF_REPO,
    gguf_revision: Annotated[str, typer.Option(help="Branch, tag or commit of --gguf-repo.")] = "main",
    endpoint: Annotated[str, typer.Option(help="Address of the hub.", envvar="HF_ENDPOINT")] = PUBLIC_HUB,
    send_token: Annotated[
        bool,
        typer.Option("--send-token", help=f"Send the access token to --endpoint, even if that is not {PUBLIC_HUB}."),
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Only configurations and vocabularies, for weights that are elsewhere.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Download models from the Hugging Face hub; interrupted downloads resume.

    Only weights, configurations and vocabularies, never code. DIR/models.lock records the commit and the checksums.
    The access token for gated models is read from HF_TOKEN; it goes to the public hub alone.
    """
    wanted = [source for source in model_registry.CATALOGUE.values() if _is_named(source, names)]
    if (len(names) > 1 or Name.ALL in names) and (repo or revision != "main"):
        raise typer.BadParameter("--repo and --revision go with one model, not with several")
    if gguf and not any(source.key == Name.FLUX_FILL for source in wanted):
        raise typer.BadParameter("--gguf goes with flux-fill")
    if small:
        wanted = [
            model_registry.without_weights(source) for source in wanted if source.required == model_registry.INDEX
        ]
        if not wanted:
            raise typer.BadParameter("--small goes with flux-fill and the versions of qwen-image-edit")
    sources = [replace(source, revision=revision) for source in wanted]
    if repo:
        sources = [replace(source, repo=repo) for source in sources]
    if gguf:
        flux = model_registry.CATALOGUE[Name.FLUX_FILL].key
        sources = [model_registry.without_transformer_weights(s) if s.key == flux else s for s in sources]
        sources.append(model_registry.gguf_source(gguf, gguf_repo, gguf_revision))
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when huggingface_hub is imported
    for source in sources:
        _pull(source, folder, endpoint.rstrip("/"), send_token=send_token)
    if gguf:
        out.print(escape(f"use it with IMGEDIT_FILL_GGUF={gguf}"), soft_wrap=True)
    for source in wanted:
        if source.use:
            out.print(escape(f"use it with {source.use}"), soft_wrap=True)


def _is_named(source: model_registry.Source, names: list[Name]) -> bool:
    return source.key in names or (source.in_all and Name.ALL in names)


@app.command(cls=Command)
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Compare the files with DIR/models.lock, offline.

    Exit code 0: all files are unchanged; 1: otherwise.
    """
    need_folder(folder, "--models")
    faults = 0
    reports = []
    try:
        for report in model_registry.verify(folder):
            faults += report.state != "OK"
            reports.append(asdict(report))
            if as_json:
                continue
            colour = "green" if report.state == "OK" else "red"
            detail = f"  [dim]{escape(report.detail)}[/]" if report.detail else ""
            out.print(f"[{colour}]{report.state:8}[/] {escape(report.path)}{detail}", soft_wrap=True, highlight=False)
    except ModelDownloadError as error:
        fail(error.message)
    if as_json:
        print_json({"ok": not faults, "files": reports})
        raise typer.Exit(ExitCode.FAILED if faults else ExitCode.DONE)
    if faults:
        _tell(
            f"{faults} faults. `imgedit models pull` restores what changed or is missing; remove what is extra yourself"
        )
        raise typer.Exit(ExitCode.FAILED)
    out.print("all files are as they were pulled")


def _pull(source: model_registry.Source, folder: Path, endpoint: str, *, send_token: bool) -> None:
    """One model, its licence told first."""
    from imgedit.weights import pull

    _tell(f"{source.key}: {source.licence}. Read it on {endpoint}/{source.repo}")
    try:
        locked = pull.pull(
            source, folder, endpoint=endpoint, say=lambda line: _tell(f"  {line}"), send_token=send_token
        )
    except ModelDownloadError as error:
        fail(message(error), exit_codes.exit_code_of(error))
    computed = sum(file.sha256_from == "computed" for file in locked.files.values())
    target = (folder / source.folder).as_posix()
    _tell(
        f"  {len(locked.files)} files in {target}; checksums: {len(locked.files) - computed} stated by the hub and "
        f"found, {computed} computed (the hub states none for small files)"
    )


def _presence(folder: Path, source: model_registry.Source, locked: model_registry.LockedModel | None) -> str:
    target = folder / source.folder
    if not target.is_dir():
        return "–"
    size = model_registry.readable(model_registry.bytes_in(target))
    return f"{size}, commit {locked.revision[:12]}" if locked else f"{size}, not in {model_registry.LOCK_NAME}"


_SOURCES = tuple(model_registry.CATALOGUE.values())


def _described(
    source: model_registry.Source, folder: Path | None, locked: model_registry.LockedModel | None
) -> dict[str, object]:
    target = folder / source.folder if folder else None
    return {
        "name": source.key,
        "repository": source.repo,
        "licence": source.licence,
        "gated": source.gated,
        "folder": str(target) if target and target.is_dir() else None,
        "bytes": model_registry.bytes_in(target) if target and target.is_dir() else 0,
        "revision": locked.revision if locked else None,
    }


def _read_lock(folder: Path) -> dict[str, model_registry.LockedModel]:
    try:
        return model_registry.read_lock(folder)
    except ModelDownloadError as error:
        fail(error.message)


def _tell(line: str) -> None:
    out.print(escape(line), soft_wrap=True, highlight=False)
