"""JSON on one line, for outputs that may lack a character of it."""

from __future__ import annotations

import json
from typing import Any


def json_line(content: Any, encoding: str = "utf-8") -> str:
    """JSON as readable as `encoding` allows, else in ASCII.

    A file's name may be no text in any encoding.
    """
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeError:
        return json.dumps(content)
    return text
