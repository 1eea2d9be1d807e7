"""Reject unknown keyword arguments by name, with the nearest known one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def refusing_unknown(*further: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function raise TypeError for unknown keywords.

    Known are its parameters and `further`: the names behind its `**options`, which type checkers know and the
    interpreter does not.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        own = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        known = [name for name in (*own, *further) if name != "self"]

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            check_keywords(function.__qualname__, kwargs, known)
            return function(*args, **kwargs)

        return checked

    return decorate


def refusing_unknown_fields(cls: type[R]) -> type[R]:
    """Have a dataclass raise TypeError for unknown fields."""
    cls.__init__ = refusing_unknown()(cls.__init__)  # type: ignore[method-assign]
    return cls


def accepting(options: type[Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Spell out a function's `**options` as the keys of a TypedDict.

    They appear in its checks, its signature and its help.

    The function raises TypeError for other keywords, and where a required one is missing.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        refusing = refusing_unknown(*options.__annotations__)(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            missing = options.__required_keys__ - kwargs.keys()
            if not missing:
                return refusing(*args, **kwargs)
            check_keywords(function.__qualname__, kwargs, [*inspect.signature(checked).parameters])
            raise TypeError(f"{function.__qualname__}() needs the option {min(missing)!r}")

        checked.__doc__ = f"{inspect.getdoc(function)}\n\n{inspect.getdoc(options)}"
        checked.__signature__ = _spelled_out(function, options)  # type: ignore[attr-defined]
        return checked

    return decorate


def _spelled_out(function: Callable[..., Any], options: type[Any]) -> inspect.Signature:
    """The signature with one keyword per option instead of `**options`."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name in options.__required_keys__ else None,
            annotation=getattr(annotation, "__forward_arg__", annotation),
        )
        for name, annotation in options.__annotations__.items()
    ]
    return signature.replace(parameters=[*own, *keywords])


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first unknown name."""
    known = list(known)
    for name in given:
        if name not in known:
            begun = [one for one in known if name.startswith(f"{one}_")]  # mask_image for mask
            near = begun or get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}; {advice}")
