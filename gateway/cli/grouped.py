"""Commands of many options: a frozen dataclass holds them, whose fields are declared as a command's parameters are."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import typer

T = TypeVar("T")


def options_of(
    kind: type[T],
) -> Callable[[Callable[[typer.Context, T, str], None]], Callable[..., None]]:
    """Have a function of a context, options and a socket be called with the fields of a dataclass as its options."""
    hints = get_type_hints(kind, include_extras=True)

    def wrap(function: Callable[[typer.Context, T, str], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def called(ctx: typer.Context, *, socket: str, **values: Any) -> None:
            function(ctx, kind(**values), socket)

        own = inspect.signature(function, eval_str=True).parameters
        mine = [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if each.default is MISSING else each.default,
                annotation=hints[each.name],
            )
            for each in fields(kind)  # type: ignore[arg-type]
        ]
        socket = own["socket"].replace(kind=inspect.Parameter.KEYWORD_ONLY)
        called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [own["ctx"], *mine, socket]
        )
        return called

    return wrap
