"""`imgedit up --studio` runs the page with everything else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from imgedit.local.ports import Ports, is_free
from tests.demo_stack import ROOT

pytestmark = pytest.mark.timeout(400)


def test_the_page_starts_and_ends_with_the_stack(models: Path, tmp_path: Path) -> None:
    ports = Ports.free(studio=True)
    command = [
        *(sys.executable, "-m", "imgedit.cli", "up", "--models", str(models), "--work-pixels", "65536"),
        *("--base-port", str(ports.base), "--metrics-base-port", str(ports.metrics_base), "--logs", str(tmp_path)),
        *("--studio", "--studio-port", str(ports.studio)),
    ]
    output = tmp_path / "output"
    with output.open("wb") as sink:
        up = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 150
        while "\npage: " not in output.read_text():
            assert up.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        assert f"page: http://127.0.0.1:{ports.studio}" in output.read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.studio}/_stcore/health", timeout=5) as answer:
            assert answer.status == 200
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    finally:
        up.kill()
        up.wait()
    assert ports.studio is not None
    assert is_free(ports.studio)
