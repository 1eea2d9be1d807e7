"""`python -m benchmarks.suite`: run the benchmarks, or compare two runs.

    python -m benchmarks.suite run [--quick] [--only NAME ...] [--repeats N] [--record FILE]
    python -m benchmarks.suite compare BEFORE AFTER [--any-machine] [--tolerance 0.03]

`run` repeats the whole list N times, so that the repeats of one benchmark lie apart, rewrites the record after each
benchmark, and prints it as its last line. `compare` prints the ratio of each figure with its 95% confidence interval,
which needs at least two repeats on both sides (three or more for a narrow one), and exits with 1 if a figure is worse.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.suite.comparison import TOLERANCE, Change, changes
from benchmarks.suite.programs import PROGRAMS, QUICK, run
from benchmarks.suite.record import Measured, Record, RecordError, read

COLOURS = {"better": "green", "worse": "red", "same": "default", "unsure": "yellow"}


def main(arguments: list[str] | None = None) -> int:
    """Run or compare."""
    options = _parser().parse_args(arguments)
    if options.task == "run":
        return measure(options)
    try:
        return compare(options)
    except RecordError as error:
        print(error, file=sys.stderr)
        return 2


def measure(options: argparse.Namespace) -> int:
    """Run the benchmarks; 1 if one failed."""
    programs = QUICK if options.quick else PROGRAMS
    chosen = [name for name in programs if not options.only or name in options.only]
    if not chosen:
        print(f"--only: none of {', '.join(options.only)} is in this run: {', '.join(programs)}", file=sys.stderr)
        return 2
    record = Record(
        commit=_commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine.facts(),
        measured=[Measured(name) for name in chosen],
    )
    path: Path = (
        options.record or Path("build/bench") / f"{record.commit}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    for repeat in range(options.repeats):
        for measured in record.measured:
            print(f"{measured.benchmark}: repeat {repeat + 1} of {options.repeats}", flush=True)
            code, result = run(measured.benchmark, programs[measured.benchmark], lambda line: print(line, flush=True))
            if result is not None:
                measured.results.append(result)
            if code:
                measured.failed.append(code)
            path.write_text(record.text() + "\n", encoding="utf-8")
    print(f"record: {path}", flush=True)
    print(record.text())
    return 1 if any(measured.failed for measured in record.measured) else 0


def compare(options: argparse.Namespace) -> int:
    """Print the changes; 1 if a figure is worse."""
    before, after = read(options.before), read(options.after)
    differing = [key for key in ("processor", "cores", "gpus") if before.machine.get(key) != after.machine.get(key)]
    if differing and not options.any_machine:
        raise RecordError(
            f"the records are of different machines ({', '.join(differing)}); --any-machine compares the ratios alone"
        )
    found = list(changes(before, after, ratios_only=bool(differing)))
    if not found:
        raise RecordError("the records have no figure in common")
    console = Console()
    console.print(table(found, options.tolerance, f"{before.commit} → {after.commit}"))
    worse = [change for change in found if change.verdict(options.tolerance) == "worse"]
    console.print(f"{len(worse)} of {len(found)} figures are worse.")
    return 1 if worse else 0


def table(found: list[Change], tolerance: float, title: str) -> Table:
    """The changes for people."""
    drawn = Table("benchmark", "figure", "before", "after", "ratio", "95% interval", "", title=title)
    for change in found:
        verdict = change.verdict(tolerance)
        interval = "one run" if change.low is None or change.high is None else f"{change.low:.3f} – {change.high:.3f}"
        drawn.add_row(
            change.benchmark,
            change.path.replace("[", r"\["),
            f"{change.before:.4g}",
            f"{change.after:.4g}",
            f"{change.ratio:.3f}",
            interval,
            f"[{COLOURS[verdict]}]{verdict}[/]",
        )
    return drawn


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("-dirty" if git("status", "--porcelain") else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    running = tasks.add_parser("run", help="run the benchmarks and write a record")
    running.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}, with fewer rounds")
    running.add_argument("--only", nargs="+", choices=PROGRAMS, metavar="NAME", help=f"of {', '.join(PROGRAMS)}")
    running.add_argument("--repeats", type=_count, default=1, help="runs of each (%(default)s)")
    running.add_argument("--record", type=Path, metavar="FILE", help="default: build/bench/COMMIT-TIME.json")
    comparing = tasks.add_parser("compare", help="compare two records")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--any-machine", action="store_true", help="between machines: compare the ratios alone")
    comparing.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help="change that counts as none (%(default)s)"
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
