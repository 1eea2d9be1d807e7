"""`python -m benchmarks.demo_quality`: measure the rows and print the table.

    python -m benchmarks.demo_quality [--scenes 200] [--models demo/models] [--rows cut-out appearance …] [--seed N]
                                      [--side-by-side N]

Starts the stack on free ports and calls its public API. The scenes come from seeds that nothing was trained with; what
is in a picture is judged by `demo.judge`, classifiers and measures for this purpose. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from benchmarks.demo_quality import fill, qwen
from benchmarks.demo_quality.bench import FIRST_SEED, Bench, Row, console
from benchmarks.demo_quality.running import running
from demo.judge import Judge
from imgedit.local.supervisor import DEMO_MODELS

ROWS = (*fill.ROWS, *qwen.ROWS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo_quality", description=(__doc__ or "").splitlines()[0].partition(": ")[2]
    )
    parser.add_argument("--scenes", type=int, default=200, help="held-out scenes per row (%(default)s)")
    parser.add_argument("--models", type=Path, default=DEMO_MODELS, help="folder of the checkpoints (%(default)s)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="the first scene's seed (%(default)s)")
    parser.add_argument(
        "--side-by-side", type=int, default=1, metavar="N", help="edits in flight, but for those timed (%(default)s)"
    )
    options = parser.parse_args()
    started = time.perf_counter()
    with running(options.models) as (client, prompt_service):
        bench = Bench(client, prompt_service, Judge(), options.scenes, options.seed, options.side_by_side)
        rows = list(measured(bench, options.rows))
    console.print(table(rows))
    for refusal in bench.refused[:5]:
        console.print(f"refused: {refusal}")
    summary = {
        "benchmark": "demo_quality",
        "scenes": options.scenes,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "refused": len(bench.refused),
        "rows": [{**asdict(row), "value": round(row.value, 4), "reached": row.reached} for row in rows],
    }
    print(json.dumps(summary, ensure_ascii=False))


def measured(bench: Bench, names: Sequence[str]) -> Iterator[Row]:
    """The lines of the rows of these names; each is printed as soon as it is known."""
    of_fill, of_qwen = fill.FillEdits(bench), qwen.QwenEdits(bench)
    for name in names:
        for row in fill.ROWS[name](of_fill) if name in fill.ROWS else qwen.ROWS[name](of_qwen):
            console.print(f"{row.task}: {row.measure}: {row.value:.4g} {row.unit}", highlight=False)
            yield row


def table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    drawn = Table("task", "measure", "measured", "target", "scenes", title="Demo checkpoints on held-out scenes")
    for row in rows:
        colour = "green" if row.reached else "red"
        sign = "≤" if row.at_most else "≥"
        value, target = (f"{number:.4g} {row.unit}".strip() for number in (row.value, row.target))
        drawn.add_row(row.task, row.measure, f"[{colour}]{value}[/]", f"{sign} {target}", str(row.count))
    return drawn


if __name__ == "__main__":
    main()
