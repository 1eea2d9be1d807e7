"""The script that Streamlit runs on every interaction."""

from studio import page

page.show()
