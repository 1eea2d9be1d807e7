"""The command `imgedit batch`: edit a folder of images, in parallel and resumable."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from imgedit.batch import STATE_NAME, Batch, Job, Outcome, State, jobs, left_out, shared_output
from imgedit.cli import exit_codes, outputs
from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import (
    Lang,
    err,
    fail,
    is_json,
    is_there,
    message,
    need_file,
    need_folder,
    out,
    print_json,
    say,
    shown,
)
from imgedit.cli.edit_options import MASK, Ask, Quality, asking, given_files, output_options
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.outputs import Force
from imgedit.client import DEFAULT_TIMEOUT
from imgedit.errors import ImgeditError
from imgedit.per_image import PerImageError, listed, with_masks, with_prompts
from imgedit.request import EditOptions

SHOWN_FAILURES = 20


@connecting
@asking
def batch(
    connect: Connect,
    ask: Ask,
    folder: Annotated[Path, typer.Argument(help="Folder of PNG, JPEG and WebP files.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder with a mask for each picture, of the same name.", rich_help_panel=MASK),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns picture and prompt, optionally negative_prompt and seed."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Include subfolders.")] = False,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", help="Results per picture, with one seed after the other; the second is NAME-2.", min=1, max=4
        ),
    ] = None,
    format: Annotated[Literal["png", "jpeg", "webp"], typer.Option(help="File format of the results.")] = "png",
    quality: Quality = None,
    parallel: Annotated[int, typer.Option("--parallel", "-n", help="Pictures to edit in parallel.", min=1, max=64)] = 4,
    force: Force = False,
    timeout: Annotated[float, typer.Option(help="Longest wait per picture, in seconds.", min=0.1)] = DEFAULT_TIMEOUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    lang: Lang = None,
) -> None:
    """Edit every image of a folder with the same options.

    Finished images are recorded in imgedit-batch.jsonl beside the results. The same command again, after Ctrl-C or a
    failure, edits only missing or changed images. Other existing files are overwritten only after a question or with
    --force, inputs never.

    Exit code 0: all images are done; 3: some failed; 1: all failed, or the command is wrong; 4: none is done, because
    no server responds or has capacity; 130: ended by Ctrl-C.
    """
    options = ask()
    ending = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}[format]
    options["n"] = n
    options["output"] = output_options(ending, quality)
    found = _jobs(folder, out_folder, recursive, ending, n or 1)
    try:
        found = _with_own(found, masks, prompts, options, recursive=recursive)
    except (PerImageError, OSError) as error:
        fail(message(error))
    inputs = list(given_files(options))
    for file in inputs:
        need_file(file)
    inputs += [mask for job in found if isinstance(mask := job.own.get("mask"), Path)] + ([prompts] if prompts else [])
    state = _state(found, inputs, out_folder, force=force)
    others = left_out(folder.resolve(), out_folder.resolve(), recursive=recursive)
    if others and not is_json():
        err.print(
            f"left out, neither PNG, JPEG nor WebP: {escape(shown(listed(others)))}", highlight=False, soft_wrap=True
        )
    run = _Run(found, others, options, state, timeout)
    with _bar(quiet) as bar:
        task = bar.add_task("editing", total=len(found), failed="")
        try:
            asyncio.run(run.edit_all(connect, parallel, bar, task))
        except KeyboardInterrupt:
            run.is_interrupted = True
    run.print_json(out_folder) if is_json() else run.print_tables(out_folder)
    raise typer.Exit(run.exit_code)


def _with_own(
    found: list[Job], masks: Path | None, prompts: Path | None, options: EditOptions, *, recursive: bool
) -> list[Job]:
    """The jobs with their own options."""
    if masks is not None:
        if options.get("mask") is not None:
            raise PerImageError("--mask and --masks do not go together: one mask for all, or one for each")
        need_folder(masks, "--masks")
        found = with_masks(found, masks, recursive=recursive)
    return found if prompts is None else with_prompts(found, prompts, has_prompt=bool(options.get("prompt")))


def _state(found: list[Job], inputs: list[Path], out_folder: Path, *, force: bool) -> State:
    """The finished jobs. Ends the command if results cannot or may not be written."""
    try:
        out_folder.mkdir(parents=True, exist_ok=True)
        state = State(out_folder / STATE_NAME)
    except OSError as error:
        fail(f"--out: {message(error)}")
    outputs.check(out_folder / STATE_NAME)
    paths = [path for job in found for path in job.outputs]
    if taken := next((path for path in paths if outputs.is_one_of(path, inputs)), None):
        text = say("{path} is an input of this command, which is never written over; name another file", path=taken)
        fail(f"--out: {text}", ExitCode.USAGE)
    new = [path for job in found for path in job.outputs if path not in state.made(job)]
    outputs.settle_existing([path for path in new if is_there(path)], force=force)
    return state


def _jobs(folder: Path, out_folder: Path, recursive: bool, ending: str, n: int) -> list[Job]:
    need_folder(folder)
    folder, out_folder = folder.resolve(), out_folder.resolve()
    if folder == out_folder:
        fail(say("--out must be another folder: results would take the place of pictures"), ExitCode.USAGE)
    found = jobs(folder, out_folder, recursive=recursive, ending=ending, n=n)
    if not found:
        advice = "" if recursive else say("; --recursive takes those below, too")
        fail(say("{folder} holds no PNG, JPEG or WebP file", folder=folder) + advice)
    if shared := shared_output(found):
        one, other, path = shared
        fail(
            say(
                "--n: results of {one} and {other} would both be {path}; rename one of the pictures",
                one=one.name,
                other=other.name,
                path=path,
            ),
            ExitCode.USAGE,
        )
    return found


class _Run:
    """One run of the command, and what became of each picture."""

    def __init__(
        self,
        found: list[Job],
        others: list[str],
        options: EditOptions,
        state: State,
        timeout: float,
    ) -> None:
        self._found = found
        self._others = others
        self._options = options
        self._state = state
        self._timeout = timeout
        self._outcomes: list[Outcome] = []
        self._stopped_by: ImgeditError | None = None
        self._started = time.monotonic()
        self.is_interrupted = False

    async def edit_all(self, connect: Connect, parallel: int, bar: Progress, task: TaskID) -> None:
        """Edit what is not done yet."""

        def note(outcome: Outcome) -> None:
            self._outcomes.append(outcome)
            failed = len(self._failed)
            bar.update(task, advance=1, failed=f"[red]{failed} failed[/]" if failed else "")

        async with connect().open_async() as client:
            work = Batch(client, self._options, self._state, self._timeout, note)
            await work.edit_all(self._found, parallel)
            self._stopped_by = work.stopped_by

    @property
    def _failed(self) -> list[Outcome]:
        return [outcome for outcome in self._outcomes if outcome.status == "failed"]

    @property
    def _not_tried(self) -> int:
        return len(self._found) - len(self._outcomes)

    @property
    def exit_code(self) -> int:
        """See the command's help."""
        if self.is_interrupted:
            return ExitCode.INTERRUPTED
        if not self._failed and not self._not_tried:
            return ExitCode.DONE
        if len(self._failed) < len(self._outcomes):
            return ExitCode.SOME_FAILED
        errors = [outcome.error for outcome in self._failed]
        may_pass = all(isinstance(error, ImgeditError) and exit_codes.may_pass_later(error) for error in errors)
        return ExitCode.TRY_LATER if may_pass else ExitCode.FAILED

    def print_tables(self, out_folder: Path) -> None:
        """Counts, then each failure."""
        counts = Counter(outcome.status for outcome in self._outcomes)
        summary = Table("done", "skipped", "failed", "not tried", "seconds", "results")
        seconds = f"{time.monotonic() - self._started:.1f}"
        numbers = (counts["done"], counts["skipped"], counts["failed"], self._not_tried)
        summary.add_row(*map(str, numbers), seconds, escape(shown(str(out_folder))))
        out.print(summary)
        for outcome in self._failed[:SHOWN_FAILURES]:
            line = shown(f"{outcome.job.name}: {self._why(outcome)}")
            err.print(f"[red]failed:[/] {escape(line)}", soft_wrap=True)
        if len(self._failed) > SHOWN_FAILURES:
            err.print(f"… and {len(self._failed) - SHOWN_FAILURES} more; --json lists all of them")
        if self._stopped_by is not None and self._not_tried:
            err.print(f"[red]stopped:[/] {escape(message(self._stopped_by))}", soft_wrap=True)
        if self._failed or self._not_tried:
            err.print("the same command again edits only what is missing")

    def print_json(self, out_folder: Path) -> None:
        """The same, for programs."""
        counts = Counter(outcome.status for outcome in self._outcomes)
        summary = {
            "done": counts["done"],
            "skipped": counts["skipped"],
            "failed": [self._failure(outcome) for outcome in self._failed],
            "not_tried": self._not_tried,
            "interrupted": self.is_interrupted,
            "seconds": round(time.monotonic() - self._started, 3),
            "left_out": self._others,
            "out": str(out_folder),
        }
        print_json(summary)

    def _failure(self, outcome: Outcome) -> dict[str, str]:
        known = outcome.error if isinstance(outcome.error, ImgeditError) else None
        return {
            "name": outcome.job.name,
            "code": known.code.name if known else "",
            "reason": known.reason if known else "",
            "message": self._why(outcome),
            "request_id": (known.request_id if known else None) or "",
        }

    def _why(self, outcome: Outcome) -> str:
        return message(outcome.error) if outcome.error else ""


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    )
