"""Errors for users: what happened, what to do, and details for operators."""

from __future__ import annotations

import streamlit as st

from imgedit.errors import EditCancelled, ImgeditError, InvalidArgument, ServiceUnavailable
from studio.text import Words, plain


def message(words: Words, error: ImgeditError) -> str:
    """The server's message as plain text."""
    return error.korean if words.language == "ko" else error.message


def show(words: Words, error: ImgeditError, *, title: str | None = None) -> None:
    """A box with the message, the invalid fields, and advice."""
    if isinstance(error, EditCancelled):
        st.info(words("error.cancelled"), icon=":material/cancel:")
        return
    text = message(words, error)
    lines = [f"**{title or words('error')}**", plain(text)]
    if words.language == "en" or error.korean == InvalidArgument.default_korean:
        faults = [fault for fault in error.violations if fault.description not in text]
        lines += [f"- {plain(words.named('parameter', fault.field))}: {plain(fault.description)}" for fault in faults]
    lines += [f":material/arrow_forward: {advice}" for advice in words.list(f"advice.{error.reason}")]
    if error.retry_after_seconds:
        lines.append(words("error.retry_after", time=words.seconds(error.retry_after_seconds)))
    icon = ":material/cloud_off:" if isinstance(error, ServiceUnavailable) else ":material/error:"
    st.error("\n\n".join(lines), icon=icon)
    if error.request_id:
        st.caption(words("error.request_id", id=plain(error.request_id)))
