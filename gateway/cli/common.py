"""What the commands share: options, exit codes, errors in one line, tables, and safe printing of others' text."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from pydantic import BaseModel

from gateway.client import DEFAULT_SOCKET, Client, CtsError, GatewayUnreachableError

OK, JOB_FAILED, BAD_INPUT, NO_SUCH, UNREACHABLE, SERVER = 0, 1, 2, 3, 4, 5
EXIT_CODES = (
    "Exit codes: 0 good; 1 a job failed or was canceled; 2 bad input; 3 no such thing, or not allowed; "
    "4 the gateway does not answer; 5 the gateway failed."
)

Socket = Annotated[
    str, typer.Option("--socket", envvar="CTS_SOCKET", help="The daemon's Unix socket.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
SOCKET = DEFAULT_SOCKET

_P = ParamSpec("_P")
_R = TypeVar("_R")


def command(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn the client's exceptions into one line on standard error and an exit code."""

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except CtsError as exc:
            _explain(exc)
            code = {401: NO_SUCH, 403: NO_SUCH, 404: NO_SUCH}.get(exc.status, BAD_INPUT)
            raise typer.Exit(SERVER if exc.status >= 500 else code) from exc
        except GatewayUnreachableError as exc:
            fail(str(exc), UNREACHABLE)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OK) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapped


def _explain(exc: CtsError) -> None:
    code = f" (appcode {exc.appcode})" if exc.appcode is not None else ""
    typer.echo(f"error: {clean(exc.message)}{code}", err=True)
    for detail in exc.details[1:20]:
        typer.echo(f"  {'.'.join(str(part) for part in detail.loc)}: {clean(detail.msg)}", err=True)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and end."""
    typer.echo(f"error: {clean(message)}", err=True)
    raise typer.Exit(code)


def clean(value: object) -> str:
    """Return text that cannot steer a terminal: control characters are shown as `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def connect(socket: str) -> Client:
    """Open the client."""
    return Client(socket)


def print_json(value: Any) -> None:
    """Print models or plain values as JSON."""
    typer.echo(json.dumps(_plain(value), indent=1))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, header: bool = True) -> None:
    """Print aligned columns; the last one is not padded."""
    lines = [[clean("" if cell is None else cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(line[n]) for line in lines)]) for n, title in enumerate(head)]
    for line in ([list(head)] if header else []) + lines:
        typer.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def duration(seconds: float | None) -> str:
    """Write seconds as Slurm does: `[D-]HH:MM:SS`; empty for None."""
    if seconds is None:
        return ""
    days, rest = divmod(int(seconds), 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def size(count: float | None) -> str:
    """Write bytes with Slurm's letters, powers of 1024; empty for None."""
    if count is None:
        return ""
    for letter in ("", "K", "M", "G", "T"):
        if count < 1024 or letter == "T":
            return f"{count:.0f}" if not letter else f"{count:.2f}{letter}"
        count /= 1024
    return ""
