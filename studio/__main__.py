"""`python -m studio`: check the settings, then exec Streamlit with our flags.

The flags are set here and not in a configuration file, so that the page does not depend on the working directory.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from imgedit import installation
from imgedit.addresses import is_loopback
from imgedit.errors import SettingsError
from imgedit.sync_client import SyncEditClient
from studio import settings as studio_settings
from studio.settings import MAX_UPLOAD_MIB, Settings
from studio.theme import THEME

WILDCARDS = ("0.0.0.0", "::")


def main() -> None:
    """Replace this process by Streamlit's.

    Exits with 1 for an invalid setting or if Streamlit is missing.
    """
    try:
        settings = studio_settings.load_settings()
        SyncEditClient(settings.server, **settings.client_options).close()  # opens no connection, but reads all files
    except SettingsError as error:
        sys.exit(f"studio: {error}")
    if importlib.util.find_spec("streamlit") is None:
        sys.exit(f"studio: Streamlit is not installed; {installation.to_install('studio')}")
    flags = [f"--{name}={_text(value)}" for name, value in [*options(settings).items(), *THEME.items()]]
    flags += [f"--server.allowedHosts={host}" for host in hosts(settings)]
    app = str(Path(__file__).with_name("asgi.py"))
    os.execv(sys.executable, [sys.executable, "-m", "studio.serve", "run", app, *flags])  # noqa: S606


def options(settings: Settings) -> dict[str, str | int | bool]:
    """Streamlit's options without the theme."""
    found: dict[str, str | int | bool] = {
        "server.address": settings.host,
        "server.port": settings.port,
        # Without this, Streamlit asks an internet service for its own address at start.
        "browser.serverAddress": "localhost" if settings.host in WILDCARDS else settings.host,
        "server.baseUrlPath": settings.base_path,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MAX_UPLOAD_MIB,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "logger.messageFormat": "%(asctime)sZ %(levelname)-7s %(name)s: %(message)s",
        # A refresh or a result's settings may set another value for a widget with a default.
        "global.disableWidgetStateDuplicationWarning": True,
    }
    return {**found, "secrets.files": settings.secrets} if settings.secrets else found


def hosts(settings: Settings) -> list[str]:
    """The host names that browsers may use.

    Against DNS rebinding, which reaches pages on loopback.
    """
    if settings.hosts:
        return [host.strip() for host in settings.hosts.split(",")]
    return ["localhost", "127.0.0.1", "::1"] if is_loopback(settings.host) else []


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
