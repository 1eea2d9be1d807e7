"""Run the numerical tests as other processors would compute.

`python -m tests.processors [--tests FILE …]`.

A setting can only lower what this processor has. Each is first asked how it rounds a few operations; a setting that
rounds as an earlier one is named and not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

SETTINGS: dict[str, dict[str, str]] = {
    "two threads": {"OMP_NUM_THREADS": "2"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "AVX512 without bf16 and AMX": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "OMP_NUM_THREADS": "1"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"},
    "oneDNN and MKL without AVX": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "1",
    },
    "no vector extensions, two threads": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "2",
    },
}

NUMERICAL = (
    "tests/unit/segmentation/test_ben2_network.py",
    "tests/unit/segmentation/test_ben2_segmenter.py",
    "tests/unit/demo/test_demo_ben2.py",
    "tests/unit/demo/test_demo_fill_checkpoint.py",
    "tests/unit/demo/test_demo_judge.py",
    "tests/unit/demo/test_demo_translator.py",
    "tests/unit/demo/test_demo_training_fill.py",
    "tests/unit/diffusion/test_engine_conditioning.py",
    "tests/unit/fill/test_fill_model.py",
    "tests/unit/fill/test_fill_model_profiles.py",
    "tests/unit/diffusion/test_guidance.py",
    "tests/unit/qwen_edit/test_qwen_alignment.py",
    "tests/unit/qwen_edit/test_qwen_jobs.py",
    "tests/unit/qwen_edit/test_qwen_lightning.py",
    "tests/unit/qwen_edit/test_qwen_mask.py",
    "tests/unit/qwen_edit/test_qwen_model.py",
    "tests/unit/qwen_edit/test_qwen_vae.py",
    "tests/unit/qwen_edit/test_rewriting.py",
    "tests/integration/test_prompt_service.py",
)
"""Files whose assertions compare numbers, pictures or sentences that networks compute."""


def main() -> int:
    """Run every setting that rounds in its own way.

    0 when all tests passed under each.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.processors", description=__doc__.splitlines()[0])
    parser.add_argument("--tests", nargs="+", default=list(NUMERICAL), help="test files (default: the numerical ones)")
    parser.add_argument("--workers", default="2", help="test processes at a time (%(default)s)")
    options = parser.parse_args()
    print(processor(), flush=True)
    seen: dict[str, str] = {}
    failed = []
    for name, setting in SETTINGS.items():
        rounding = rounding_under(setting)
        if rounding in seen:
            print(f"{name}: rounds as '{seen[rounding]}' here, not run again", flush=True)
            continue
        seen[rounding] = name
        started = time.monotonic()
        passed = run_tests(options.tests, setting, options.workers)
        print(f"{name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True)
        failed += [] if passed else [name]
    print(f"{len(seen)} settings were different; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def processor() -> str:
    """The processor's name, and its vector extensions that matter here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    about = dict(line.split("\t", 1) for line in lines if "\t" in line)
    name = about.get("model name", "?").lstrip("\t: ")
    flags = about.get("flags", "").split()
    known = [flag for flag in flags if flag.startswith(("avx", "amx")) and flag != "avx"]
    return f"{name}: {', '.join(known)}"


def rounding_under(setting: Mapping[str, str]) -> str:
    """A digest of what a few operations give in a process with this setting."""
    command = [sys.executable, "-c", "from tests.processors import rounding; print(rounding())"]
    done = subprocess.run(command, env={**os.environ, **setting}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def rounding() -> str:
    """A digest of the networks' operations on this CPU."""
    import torch
    from torch.nn import functional

    noise = torch.Generator().manual_seed(0)
    results = [torch.randn(1000, 1000, generator=noise).sum()]
    for dtype in (torch.float32, torch.bfloat16):
        tokens = torch.randn(1, 4, 128, 32, generator=noise).to(dtype)
        picture, kernel = (torch.randn(*shape, generator=noise).to(dtype) for shape in ((1, 8, 24, 24), (8, 8, 3, 3)))
        matrix = torch.randn(128, 32, generator=noise).to(dtype)
        results += [
            functional.linear(tokens, matrix),
            functional.conv2d(picture, kernel, padding=1),
            functional.scaled_dot_product_attention(tokens, tokens, tokens),
            functional.group_norm(picture, 4),
            functional.gelu(tokens).softmax(-1),
        ]
    results.append(torch.tensor(torch.get_num_threads()))  # not all dependent code is tried here
    digests = [hashlib.sha256(result.float().numpy().tobytes()).hexdigest() for result in results]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def run_tests(files: list[str], setting: Mapping[str, str], workers: str) -> bool:
    """Whether all tests pass in processes with this setting."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "loadscope", *files]
    return subprocess.run(command, env={**os.environ, **setting}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
