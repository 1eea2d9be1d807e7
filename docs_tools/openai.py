"""Write the reference of OpenAI's image API from the service's tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from docs_tools.markdown import code, table, titled
from services.openai_api.parameters import ALIASES, FILES, LISTS, OWN, REFUSED, THEIRS, Parameter

HEAD = """# OpenAI's image API: parameters

`POST /v1/images/edits` takes `multipart/form-data` with these parts. [OpenAI's image API](../openai.md) tells how they
are used; ranges that are not named here are those of the feature (`GET /v1/experiments`).

"""


def page(folder: Path) -> dict[Path, str]:
    """The page, by where it goes."""
    own = [*((name, parameter) for name, (_, parameter) in OWN.items()), *LISTS.items()]
    parts = [
        titled(HEAD),
        "## Files\n\n",
        table(["part", "meaning"], [(code(name), text) for name, text in FILES.items()]),
        "## OpenAI's parameters\n\n",
        _parameters(THEIRS.items()),
        "## Our parameters\n\n",
        _parameters(own),
        "## Other names\n\n",
        table(["name", "of"], [(code(name), code(meant)) for name, meant in ALIASES.items()]),
        "## Refused\n\n",
        table(["parameter", "why"], [(code(name), why) for name, why in REFUSED.items()]),
    ]
    return {folder / "openai.md": "".join(parts)}


def _parameters(found: Iterable[tuple[str, Parameter]]) -> str:
    rows = [(code(name), parameter.kind, _values(parameter), parameter.help) for name, parameter in found]
    return table(["part", "type", "values", "meaning"], rows)


def _values(parameter: Parameter) -> str:
    if parameter.range:
        return f"{parameter.range[0]} to {parameter.range[1]}"
    return ", ".join(map(code, parameter.choices))
