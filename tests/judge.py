"""Opens every file of `tests.hostile` in this process and measures each.

`python -m tests.judge [NAME ...]`.

Prints one JSON object per file: outcome, processor seconds, and bytes that the process grew by at its peak. With
"naively" before the names Pillow opens them as it is, without limits: the control.
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from imgedit.errors import ImageRejected
from imgedit.imaging import images
from tests.hostile import CASES


def main(names: list[str]) -> None:
    judge = _naively if names[:1] == ["naively"] else _judged
    images.open_untrusted(CASES["PNG with one declared frame"].make(), field="warm-up")
    for name in [name for name in names if name in CASES] or CASES:
        print(json.dumps({"name": name, **measured(judge, CASES[name].make())}), flush=True)


def measured(judge: Callable[[bytes], object], data: bytes) -> dict[str, object]:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak restarts
    before, started = _memory("VmRSS"), time.process_time()
    try:
        outcome: dict[str, object] = {"size": judge(data)}
    except ImageRejected as refusal:
        outcome = {"refused": refusal.message}
    except Exception as error:  # noqa: BLE001  # reported
        outcome = {"raised": repr(error)}
    return {**outcome, "seconds": time.process_time() - started, "bytes": _memory("VmHWM") - before}


def _judged(data: bytes) -> object:
    return images.open_untrusted(data, field="input_image").size


def _naively(data: bytes) -> object:
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


def _memory(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1:])
