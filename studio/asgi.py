"""The page as an ASGI application.

Streamlit behind our middleware and error texts.
"""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from studio import settings, uploads
from studio.request_guard import Door


def _explain(error: Exception) -> bool:
    from studio import page  # its caches need the runtime, which does not exist yet at import

    return page.explain(error)


_configured = settings.load_settings()
_uploads = uploads.Uploads(
    uploads.kept_by_streamlit, per_session=_configured.upload_bytes_per_visit, most=_configured.upload_bytes
)
app = st.App(
    Path(__file__).with_name("app.py"),
    middleware=[Middleware(Door, uploads=_uploads, pages=uploads.Pages(_configured.max_pages))],
    on_script_error=_explain,
)
