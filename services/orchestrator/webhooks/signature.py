"""Signatures of webhooks by the Standard Webhooks specification.

https://www.standardwebhooks.com: HMAC-SHA256 over id, timestamp and body. Several secrets sign at once, so a secret can
be replaced without a gap.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from imgedit.errors import SettingsError

PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64


def read_secrets(lines: Sequence[str], source: str) -> tuple[bytes, ...]:
    """Parse signing secrets, one per line: whsec_ and 24 to 64 bytes in base64.

    Raises `SettingsError` without quoting a secret.
    """
    given = [line.strip() for line in lines if line.strip()]
    if not given:
        raise SettingsError(f"{source}: holds no signing secret")
    return tuple(_secret(line, f"{source}:{number}") for number, line in enumerate(given, 1))


def signed_headers(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed message."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def _secret(line: str, where: str) -> bytes:
    try:
        secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not line.startswith(PREFIX) or not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise SettingsError(
            f"{where}: must be {PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64; make one "
            f'with `echo "{PREFIX}$(openssl rand -base64 32)"`'
        )
    return secret
