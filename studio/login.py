"""The optional login: Streamlit's OpenID Connect.

The secrets file configures the provider.
"""

from __future__ import annotations

import streamlit as st

from studio.settings import Settings
from studio.text import Words


def require(words: Words, settings: Settings) -> None:
    """Stop the page here for a user who is not logged in."""
    if settings.login == "off" or st.user.is_logged_in:
        return
    _, middle, _ = st.columns([1, 2, 1])
    with middle.container(border=True, horizontal_alignment="center"):
        st.markdown(words("login.why"))
        st.button(words("login"), type="primary", icon=":material/login:", on_click=st.login, key="login")
    st.stop()


def owner(settings: Settings) -> str:
    """Whose visit this is, as the provider names people; "" without a login."""
    return "" if settings.login == "off" or not st.user.is_logged_in else str(st.user.get("sub", ""))


def leave(words: Words, settings: Settings) -> None:
    """The logout button."""
    if settings.login != "off":
        st.button(words("logout"), type="tertiary", icon=":material/logout:", on_click=st.logout, key="logout")
