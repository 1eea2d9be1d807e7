"""JSON on one line, for outputs with a limited encoding."""

from __future__ import annotations

import json
from typing import Any


def json_line(content: Any, encoding: str = "utf-8") -> str:
    """JSON as readable as `encoding` allows, else in ASCII.

    A file name may not be valid text.
    """
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeError:
        return json.dumps(content)
    return text
