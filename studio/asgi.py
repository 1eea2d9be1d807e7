"""The page as an ASGI application: Streamlit with our door before it, and our words where its script fails."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from studio.request_guard import Door


def _explain(error: Exception) -> bool:
    from studio import page  # its caches need the runtime, which is not there yet when this module is read

    return page.explain(error)


app = st.App(Path(__file__).with_name("app.py"), middleware=[Middleware(Door)], on_script_error=_explain)
