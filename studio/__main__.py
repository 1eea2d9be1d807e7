"""`python -m studio`: check the settings, then become Streamlit with our flags.

The flags are set here and not in a configuration file, so that the page is the same wherever it is started from.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from imgedit.errors import SettingsError
from imgedit.sync_client import SyncEditClient
from studio import settings as studio_settings
from studio.settings import Settings
from studio.theme import THEME

MAX_UPLOAD_MIB = 32
"""As at the API."""


def main() -> None:
    """Replace this process by Streamlit's; ends with 1 where a setting is wrong or Streamlit is missing."""
    try:
        settings = studio_settings.load()
        SyncEditClient(
            settings.server, **settings.client_options
        ).close()  # connects to nothing yet, but reads all files
    except SettingsError as error:
        sys.exit(f"studio: {error}")
    if importlib.util.find_spec("streamlit") is None:
        sys.exit("studio: Streamlit is not installed here; pip install 'imgedit[studio]'")
    flags = [f"--{name}={_text(value)}" for name, value in {**options(settings), **THEME}.items()]
    app = str(Path(__file__).with_name("app.py"))
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", app, *flags])  # noqa: S606


def options(settings: Settings) -> dict[str, str | int | bool]:
    """Streamlit's options but for the looks."""
    found: dict[str, str | int | bool] = {
        "server.address": settings.host,
        "server.port": settings.port,
        "server.baseUrlPath": settings.base_path,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MAX_UPLOAD_MIB,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
    }
    return {**found, "secrets.files": settings.secrets} if settings.secrets else found


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
