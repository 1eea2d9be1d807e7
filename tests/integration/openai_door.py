"""OpenAI's image API over HTTP, called by the `openai` package.

The orchestrator behind it is scripted.
"""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openai import AsyncOpenAI
from openai.types import ImagesResponse
from PIL import Image

from services.openai_api.app import OpenAiApi
from services.openai_api.server import RunningHttpServer
from services.openai_api.settings import OpenAiApiSettings

from .scripted import World, picture, world

INPAINTING = "ben2_flux_fill/inpainting"
OUTPAINTING = "ben2_flux_fill/outpainting"
APPEARANCE = "ben2_qwen_image/appearance_editing"


@dataclass
class Door:
    """The running service, the world behind it, and a client that tries nothing twice."""

    world: World
    server: RunningHttpServer
    client: AsyncOpenAI
    url: str

    async def edit(self, **parameters: Any) -> Any:
        """An edit of the scripted world's picture."""
        return await self.client.images.edit(**{"image": upload(), "prompt": "a gym", **parameters})


@asynccontextmanager
async def door(
    *, api_key: str = "none", orchestrator: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Door]:
    """The service with these settings, before an orchestrator with those."""
    async with world(**(orchestrator or {})) as running, before(running, api_key=api_key, **settings) as found:
        yield found


@asynccontextmanager
async def before(running: World, *, api_key: str = "none", **settings: Any) -> AsyncIterator[Door]:
    """The service before a world that runs already."""
    address = f"127.0.0.1:{running.orchestrator.port}"
    options = {"port": 0, "metrics_port": 0, "drain_seconds": 0, "grace_seconds": 5, "orchestrator": address}
    chosen = OpenAiApiSettings(**{**options, **settings})
    server = RunningHttpServer(OpenAiApi(chosen), chosen)
    await server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0) as client:
            yield Door(running, server, client, url)
    finally:
        await server.drain()


def upload(data: bytes | None = None) -> tuple[str, bytes]:
    """A file as the SDK takes it; the scripted world's picture where none is given."""
    return ("picture.png", picture() if data is None else data)


def pixels(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def decoded(answer: ImagesResponse, place: int = 0) -> bytes:
    """The file of one result."""
    assert answer.data
    return base64.b64decode(answer.data[place].b64_json or "", validate=True)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def hole(box: tuple[int, int, int, int], size: tuple[int, int] = (64, 48), colour: int = 255) -> bytes:
    """A mask of OpenAI's kind: opaque, and transparent within the box."""
    mask = Image.new("RGBA", size, (colour, colour, colour, 255))
    mask.paste((colour, colour, colour, 0), box)
    return png(mask)
