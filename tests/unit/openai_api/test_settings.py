"""Settings with an open port or unencrypted tokens stop the start and are named."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from imgedit.errors import SettingsError
from services.common.settings import load_settings
from services.openai_api.settings import OpenAiApiSettings

FAR = {"orchestrator": "imgedit-orchestrator:50051"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "IMGEDIT_OPENAI_API_HOST=0.0.0.0 lets other machines call"),
        (FAR, "IMGEDIT_OPENAI_API_ORCHESTRATOR=imgedit-orchestrator:50051: callers' tokens would cross"),
        ({"tls_certificate": "c.pem"}, "IMGEDIT_OPENAI_API_TLS_KEY: set both"),
        ({"tls_client_ca": "ca.pem"}, "IMGEDIT_OPENAI_API_TLS_CLIENT_CA has no effect"),
    ],
)
def test_what_would_harm_is_refused_by_its_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        OpenAiApiSettings(**settings).check()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"host": "0.0.0.0", "insecure": True},
        {"host": "0.0.0.0", **FAR, "tokens_in_clear": True},
        {"host": "0.0.0.0", **FAR, "orchestrator_tls_ca": "ca.pem"},
    ],
)
def test_what_is_safe_is_taken(settings: dict[str, Any]) -> None:
    OpenAiApiSettings(**settings).check()


def test_a_bad_value_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGEDIT_OPENAI_API_MAX_EDITS", "3")
    with pytest.raises(SettingsError, match="IMGEDIT_OPENAI_API_MAX_EDITS"):
        load_settings(OpenAiApiSettings)


@pytest.mark.parametrize("url", ["images.example.org", "https://a/?x=1", "https://a/", "ftp://a"])
def test_a_public_url_is_one_to_which_a_path_can_be_added(url: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        OpenAiApiSettings(public_url=url)
