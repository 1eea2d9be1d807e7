"""Who makes the current call."""

from __future__ import annotations

from contextvars import ContextVar

caller: ContextVar[str] = ContextVar("caller", default="anonymous")
"""The name of the credential that the current call came with; "anonymous" where the server asks for none."""
