"""Whether a stack keeps its memory over many edits, with a leaking control.

    python -m benchmarks.memory [--edits 300] [--megapixels 12] [--side-by-side 2] [--no-control]

Four real services with tiny checkpoints repeatedly edit an image of 12 megapixels with BEN2's mask, at few steps, in
PNG, JPEG and WebP in turn, with different seeds. The resident size is the sum of the orchestrator, its decoders and the
model services. It is taken after a warm-up and after each tenth of the edits, once the services have released unused
memory. The result compares the last value with the first. The warm-up fills the bounded caches (responses, masks).

The control is the same with a leaking orchestrator: its content policy keeps every result. It must fail, or the
measurement is blind. Ends with one JSON object; exit code 1 if memory grew, or if the control did not.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from imgedit import Output, SyncEditClient
from imgedit.imaging.images import Pixels
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of
from imgedit.values import Format
from services.common.memory import SECONDS
from services.orchestrator.policy import ALLOW, Review, Verdict

MB = 1_000_000
LIMIT_BYTES = 50 * MB
WARM_UP = 0.2
"""Part of the edits that warm up; at least ten."""
CONTROL_EDITS = 20
ROUNDS = 10
REST_SECONDS = 2 * SECONDS + 1
"""Wait until every service has released its unused memory."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of answers by request id: the default is 256 MiB, which a short warm-up would not fill."""
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
MODELS = Path("build/models-tiny")

_leaked: list[Pixels] = []


def leak(review: Review) -> Verdict:
    """The content policy of the control: keeps a copy of every result."""
    if review.picture is not None:
        _leaked.append(review.picture.copy())
    return ALLOW


def main() -> int:
    """Measure, print, and say whether it passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--edits", type=int, default=300, help="edits after the warm-up (%(default)s)")
    parser.add_argument("--megapixels", type=float, default=12.0, help="of the picture (%(default)s)")
    parser.add_argument("--side-by-side", type=int, default=2, help="edits at once (%(default)s)")
    parser.add_argument("--control", action=argparse.BooleanOptionalAction, default=True, help="also run the control")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "demo.tiny", "--out", str(MODELS)], check=True, stdout=subprocess.DEVNULL)
    picture = photograph(options.megapixels)
    found = soak(picture, options.edits, options.side_by_side, {})
    result = {"benchmark": "memory", "edits": options.edits, "megapixels": options.megapixels, **found}
    is_good = found["growth_bytes"] < LIMIT_BYTES
    if options.control:
        leaking = {"IMGEDIT_ORCHESTRATOR_CONTENT_POLICY": "benchmarks.memory:leak", "PYTHONPATH": str(Path.cwd())}
        result["control_growth_bytes"] = soak(picture, CONTROL_EDITS, options.side_by_side, leaking)["growth_bytes"]
        is_good = is_good and result["control_growth_bytes"] > LIMIT_BYTES
    print(json.dumps({**result, "limit_bytes": LIMIT_BYTES, "passed": is_good}))
    return 0 if is_good else 1


def soak(picture: bytes, edits: int, side_by_side: int, environment: dict[str, str]) -> dict[str, int]:
    """Edit, and compare the resident size at the end with that after the warm-up."""
    warm_up = max(10, round(edits * WARM_UP))
    reached = [0, *(warm_up + edits * part // ROUNDS for part in range(ROUNDS + 1))]
    sizes: list[dict[str, int]] = []
    with running(environment) as (stack, client), ThreadPoolExecutor(side_by_side) as threads:
        for first, end in itertools.pairwise(reached):
            list(threads.map(lambda seed: edit(client, picture, seed), range(first, end)))
            time.sleep(REST_SECONDS)
            sizes.append(resident(stack))
            print(f"{end:>4} edits: {shown(sizes[-1])}", flush=True)
    before, *_, after = sizes
    return {
        "start_bytes": total(before),
        "end_bytes": total(after),
        "growth_bytes": total(after) - total(before),
        **{f"{name}_growth_bytes": after[name] - before[name] for name in before},
        "most_bytes": max(map(total, sizes)),
    }


def total(sizes: dict[str, int]) -> int:
    """Of all services."""
    return sum(sizes.values())


def shown(sizes: dict[str, int]) -> str:
    """In megabytes, all and each."""
    parts = ", ".join(f"{name} {size / MB:.0f}" for name, size in sizes.items())
    return f"{total(sizes) / MB:.0f} MB ({parts})"


def edit(client: SyncEditClient, picture: bytes, seed: int) -> None:
    """One edit at the least work for the models."""
    output = Output(format=FORMATS[seed % len(FORMATS)], quality=90 if seed % len(FORMATS) else None)
    options = {"prompt": "a gym", "steps": 10, "strength": 0.1, "seed": seed, "output": output}
    answer = client.edit(picture, experiment="ben2_flux_fill", feature="inpainting", **options)
    if not answer.success:
        raise RuntimeError("an edit failed")


def photograph(megapixels: float) -> bytes:
    """A PNG, 4:3: a soft bright disc on a noisy ground, as a subject for BEN2."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    y, x = np.mgrid[0:height, 0:width]
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2) * 120
    noise = np.random.default_rng(1).integers(0, 60, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray((disc[:, :, None] + noise).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@contextmanager
def running(environment: dict[str, str]) -> Iterator[tuple[Stack, SyncEditClient]]:
    """A stack with tiny checkpoints, set as `imgedit up` sets it."""
    ports = Ports.free()
    with tempfile.TemporaryDirectory() as logs:
        shared = environment_of(ports, MODELS, max_work_pixels=64 * 64)
        kept = {"IMGEDIT_ORCHESTRATOR_MAX_KEPT_BYTES": str(KEPT_BYTES)}
        stack = Stack(ports, Path(logs), {**shared, **kept, **environment})
        try:
            stack.start()
            list(stack.wait_until_serving(timeout=300))
            with SyncEditClient(ports.address("orchestrator")) as client:
                yield stack, client
        finally:
            stack.stop()


def resident(stack: Stack) -> dict[str, int]:
    """Bytes of each service with its children."""
    return {name: tree_size(popen.pid) for name, popen in stack.processes.items()}


def tree_size(pid: int) -> int:
    """Resident bytes of a process and its children."""
    process = psutil.Process(pid)
    return sum(part.memory_info().rss for part in (process, *process.children(recursive=True)))


if __name__ == "__main__":
    sys.exit(main())
