"""Options that several commands share.

Written once, as the parameters of a function, and given to each command.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def instead_of(parameter: str, build: Callable[..., Any]) -> Callable[[Command], Command]:
    """Replace a command's `parameter` by the parameters of `build` as options.

    The command receives a function that calls `build` with them.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        options = inspect.signature(build, eval_str=True).parameters
        own = [found for name, found in signature.parameters.items() if name != parameter]

        @functools.wraps(command)
        def with_options(**values: Any) -> Any:
            given = {name: values.pop(name) for name in options}
            return command(**values, **{parameter: functools.partial(build, **given)})

        keyword = [found.replace(kind=inspect.Parameter.KEYWORD_ONLY) for found in options.values()]
        with_options.__signature__ = signature.replace(parameters=[*own, *keyword])  # type: ignore[attr-defined]
        return with_options  # type: ignore[return-value]  # a command all the same

    return decorate
