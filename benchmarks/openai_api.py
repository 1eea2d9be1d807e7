"""Measure the cost of OpenAI's image API: an edit over it and over gRPC, in turn.

    python -m benchmarks.openai_api [--megapixels 1] [--rounds 60]

An EditService in a separate process answers at once with a fixed picture. So the difference is the service's whole
cost: the credential's check, the form, the call behind it, base64, and the bytes in between. The
caller sends ready bytes and reads to the end, so its own work does not count. Paired differences, their median and
quartiles, and the service's processor time per request. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from matplotlib import cbook
from PIL import Image

from imgedit.channels import CHANNEL_OPTIONS
from imgedit.imaging.encoding import encode_png
from imgedit.local.ports import Ports
from imgedit.local.services import OPENAI_API
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.access import OpenGate
from services.common.interceptors import RequestInterceptor

GOAL_MILLISECONDS = 15.0
MODEL = "ben2_flux_fill/inpainting"
BOUNDARY = "boundary-of-the-benchmark"
START_SECONDS = 60.0


class InstantEdits(edit_pb2_grpc.EditServiceServicer):
    """Answers every edit at once with the same picture."""

    def __init__(self, picture: bytes) -> None:
        self._answer = edit_pb2.EditResponse(success=True, output_image=picture, width=1, height=1)

    async def EditStream(self, request: edit_pb2.EditRequest, context: Any) -> AsyncIterator[edit_pb2.EditEvent]:  # noqa: ARG002  # gRPC passes it
        """Its only event is the result."""
        yield edit_pb2.EditEvent(request_id=request.request_id, result=self._answer)


async def serve(port: int, picture: bytes) -> None:
    """The EditService, until the process ends."""
    interceptor = RequestInterceptor("orchestrator", max_request_bytes=32 * 2**20, gate=OpenGate())
    server = grpc.aio.server(interceptors=[interceptor], options=CHANNEL_OPTIONS)
    edit_pb2_grpc.add_EditServiceServicer_to_server(InstantEdits(picture), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def photograph(megapixels: float) -> bytes:
    """A PNG of a photograph with so many pixels."""
    side = round((megapixels * 1e6) ** 0.5)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        image = Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return encode_png(np.asarray(image))


def form(picture: bytes) -> bytes:
    """The body of a request."""
    parts = [
        (f'name="{name}"', value.encode()) for name, value in (("prompt", "a bright modern gym"), ("model", MODEL))
    ]
    parts.append(('name="image"; filename="photo.png"', picture))
    body = io.BytesIO()
    for head, content in parts:
        body.write(f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n")
    body.write(f"--{BOUNDARY}--\r\n".encode())
    return body.getvalue()


async def over_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> float:
    """Seconds of one request, and of reading its answer."""
    head = (
        "POST /v1/images/edits HTTP/1.1\r\nhost: benchmark\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    started = time.perf_counter()
    writer.write(head.encode())
    writer.write(body)
    await writer.drain()
    answered = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if " 200 " not in answered.split("\r\n", 1)[0]:
        raise SystemExit(f"the service refused: {answered}")
    size = int(answered.split("content-length:", 1)[1].split("\r\n", 1)[0])
    await reader.readexactly(size)
    return time.perf_counter() - started


async def over_grpc(stub: Any, request: edit_pb2.EditRequest) -> float:
    """Seconds of the same edit."""
    started = time.perf_counter()
    async for _ in stub.EditStream(request):
        pass
    return time.perf_counter() - started


async def measure(ports: Ports, picture: bytes, rounds: int, process: psutil.Process) -> dict[str, float]:
    """Milliseconds, medians."""
    experiment, _, feature = MODEL.partition("/")
    request = edit_pb2.EditRequest(
        experiment_id=experiment, feature_id=feature, input_image=picture, prompt="a bright modern gym"
    )
    body = form(picture)
    pairs = []
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.openai, limit=2**20)
    async with grpc.aio.insecure_channel(ports.address("orchestrator"), options=CHANNEL_OPTIONS) as channel:
        stub = edit_pb2_grpc.EditServiceStub(channel)
        for number in range(rounds + 5):
            if number == 5:  # warm
                before = process.cpu_times()
            pair = [await over_grpc(stub, request), await over_http(reader, writer, body)]
            if number >= 5:
                pairs.append([1000 * seconds for seconds in pair])
    after = process.cpu_times()
    writer.close()
    added = [http - direct for direct, http in pairs]
    quartiles = statistics.quantiles(added, n=4)
    return {
        "grpc_ms": statistics.median(direct for direct, _ in pairs),
        "openai_ms": statistics.median(http for _, http in pairs),
        "added_ms": statistics.median(added),
        "added_lower_quartile_ms": quartiles[0],
        "added_upper_quartile_ms": quartiles[2],
        "service_cpu_ms": 1000 * (after.user + after.system - before.user - before.system) / rounds,
    }


@contextmanager
def running(ports: Ports, picture: Path) -> Iterator[psutil.Process]:
    """The EditService and the OpenAI API in front of it; yields the latter's process."""
    prefix = f"IMGEDIT_{OPENAI_API.name.upper()}_"
    environment = {
        **os.environ,
        f"{prefix}PORT": str(ports.openai),
        f"{prefix}METRICS_PORT": str(ports.metrics_port(OPENAI_API.name)),
        f"{prefix}ORCHESTRATOR": ports.address("orchestrator"),
        f"{prefix}LOG_LEVEL": "warning",
        f"{prefix}DRAIN_SECONDS": "0",
    }
    serving = [sys.executable, "-m", "benchmarks.openai_api", "--serve", str(ports.base), "--picture", str(picture)]
    edits = subprocess.Popen(serving)
    api = subprocess.Popen([sys.executable, "-m", f"services.{OPENAI_API.name}"], env=environment)
    try:
        wait_for_both(ports)
        yield psutil.Process(api.pid)
    finally:
        for process in (api, edits):
            process.terminate()
            process.wait(30)


def wait_for_both(ports: Ports) -> None:
    """Until both ports take connections."""
    ends_at = time.monotonic() + START_SECONDS
    waiting = {ports.base, ports.openai}
    while waiting:
        waiting = {port for port in waiting if not listens(port)}
        if time.monotonic() > ends_at:
            raise SystemExit(f"nothing listens on {waiting}")
        time.sleep(0.1)


def listens(port: int | None) -> bool:
    """Whether something on this machine does."""
    return any(item.laddr.port == port and item.status == psutil.CONN_LISTEN for item in psutil.net_connections("tcp"))


def main() -> None:
    """Measure, print a table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--picture", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.picture.read_bytes()))
        return
    found = {}
    print(f"{'MP':>5} {'MB':>6} {'gRPC ms':>8} {'OpenAI ms':>10} {'added ms':>9} {'quartiles':>13} {'CPU ms':>7}")
    for megapixels in options.megapixels:
        picture = photograph(megapixels)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "picture.png")
            path.write_bytes(picture)
            ports = Ports.free(gateway=True)
            with running(ports, path) as process:
                row = asyncio.run(measure(ports, picture, options.rounds, process))
        row["megabytes"] = len(picture) / 1e6
        found[f"{megapixels:g}"] = {name: round(value, 2) for name, value in row.items()}
        quartiles = f"{row['added_lower_quartile_ms']:.1f} – {row['added_upper_quartile_ms']:.1f}"
        print(
            f"{megapixels:5g} {row['megabytes']:6.2f} {row['grpc_ms']:8.1f} {row['openai_ms']:10.1f} "
            f"{row['added_ms']:9.1f} {quartiles:>13} {row['service_cpu_ms']:7.1f}"
        )
    print(json.dumps({"benchmark": "openai_api", "goal_ms": GOAL_MILLISECONDS, "megapixels": found}))


if __name__ == "__main__":
    main()
