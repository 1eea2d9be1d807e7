"""The page as an ASGI application.

Streamlit behind our middleware and error texts.
"""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from studio.door import Door


def _explain(error: Exception) -> bool:
    from studio import page  # its caches need the runtime, which does not exist yet at import

    return page.explain(error)


app = st.App(Path(__file__).with_name("app.py"), middleware=[Middleware(Door)], on_script_error=_explain)
