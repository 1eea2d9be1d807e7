"""The script that Streamlit runs, once for every change on the page."""

from studio import page

page.show_page()
