"""What the commands share: options, exit codes, errors in one line, tables, and safe printing of others' text."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from pydantic import BaseModel

from gateway.client import DEFAULT_SOCKET, Client, CtsError, GatewayUnreachableError

OK, JOB_FAILED, BAD_INPUT, NO_SUCH, UNREACHABLE, SERVER = 0, 1, 2, 3, 4, 5
EXIT_CODES = (
    "Exit codes: 0 good; 1 a job failed, was canceled, or did not end in time; 2 bad input; 3 no such thing, or not allowed; "
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
            raise typer.Exit(explain(exc)) from exc
        except GatewayUnreachableError as exc:
            fail(str(exc), UNREACHABLE)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OK) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapped


def explain(exc: CtsError) -> int:
    """Say what the gateway refused or failed at; returns the exit code that goes with it."""
    code = f" (appcode {exc.appcode})" if exc.appcode is not None else ""
    if exc.status >= 500 and exc.request_id:
        code = f" (request {clean(exc.request_id)})"
    typer.echo(f"error: {clean(exc.message)}{code}", err=True)
    for detail in exc.details[1:20]:
        where = ".".join(str(part) for part in detail.loc)
        typer.echo(f"  {clean(where)}: {clean(detail.msg)}", err=True)
    if exc.status >= 500:
        return SERVER
    return NO_SUCH if exc.status in (401, 403, 404) else BAD_INPUT


def for_each(items: Iterable[str], action: Callable[[str], object]) -> None:
    """Do something to each of several jobs: one that is refused does not keep the others from it."""
    worst = OK
    for item in items:
        try:
            action(item)
        except CtsError as exc:
            worst = max(worst, explain(exc))
    if worst:
        raise typer.Exit(worst)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and end."""
    typer.echo(f"error: {clean(message)}", err=True)
    raise typer.Exit(code)


def clean(value: object) -> str:
    """Return text that cannot steer a terminal: control characters are shown as `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


_STEERING = re.compile(
    rb"\x1b(?!\[[0-9;]{0,30}m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\xc2[\x80-\x9f]"
)


def clean_log(piece: bytes) -> bytes:
    """Return a piece of a log for a terminal: lines, tabs and colours stay, what else steers it becomes `?`."""
    return _STEERING.sub(b"?", piece)


def write_log(piece: bytes) -> None:
    """Print a piece of a log: as it is into pipes and files, harmless to a terminal."""
    out = sys.stdout.buffer
    out.write(clean_log(piece) if sys.stdout.isatty() else piece)
    out.flush()


def local(time: datetime, precision: str = "seconds") -> str:
    """Write a time as the user's clock has it, with the zone left out as Slurm's commands do."""
    return time.astimezone().replace(tzinfo=None).isoformat(timespec=precision)


def new_app(help_text: str, **options: Any) -> typer.Typer:
    """Make a command line with plain help, plain errors and the exit codes explained."""
    return typer.Typer(
        help=f"{help_text}\n\n{EXIT_CODES}",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        **options,
    )


def run_one(function: Callable[..., object], help_text: str, **settings: Any) -> None:
    """Run a program that is one command."""
    app = new_app(help_text)
    app.command(help=f"{help_text}\n\n{EXIT_CODES}", context_settings=settings or None)(function)
    app()


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
