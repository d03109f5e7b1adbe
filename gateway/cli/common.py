"""What the commands share: options, exit codes, errors in one line, and how a program is made and run."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Annotated, Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from typer.core import TyperCommand

from gateway.cli import where
from gateway.cli.text import clean
from gateway.client import DEFAULT_SOCKET, Client, CtsError, GatewayUnreachableError
from gateway.errors import AppCode

OK, JOB_FAILED, BAD_INPUT, NO_SUCH, UNREACHABLE, SERVER = 0, 1, 2, 3, 4, 5
INTERRUPTED = 130  # 128 and SIGINT, as shells have it
EXIT_CODES = (
    "Exit codes: 0 good; 1 a job failed, was canceled, or did not end in time, a file could not be moved, or a template is wrong; 2 bad input; 3 no such thing, or not allowed; "
    "4 the gateway does not answer; 5 the gateway failed; 130 interrupted."
)

Socket = Annotated[
    str, typer.Option("--socket", envvar="CTS_SOCKET", help="The daemon's Unix socket.")
]
SiteName = Annotated[str, typer.Argument(metavar="SITE", help="A site; see cts sites.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
SOCKET = DEFAULT_SOCKET

_P = ParamSpec("_P")
_R = TypeVar("_R")


class UserError(Exception):
    """A command that makes no sense; `code` is the exit code."""

    def __init__(self, message: str, code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code


def command(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn exceptions into one line on standard error and an exit code.

    A command with a `socket` also gets the options that name a gateway by its URL; `connect` heeds them.
    """
    own = inspect.signature(function).parameters
    signature, context = where.signature_of(function)

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            with where.told(kwargs, context, own) if context is not None else nullcontext():
                found = function(*args, **kwargs)
            sys.stdout.flush()  # here, where a reader who has gone is no error
            return found
        except where.WhereError as exc:
            raise typer.Exit(explain(UserError(str(exc)))) from exc
        except (CtsError, UserError, GatewayUnreachableError) as exc:
            raise typer.Exit(explain(exc)) from exc
        except BrokenPipeError:
            _discard(sys.stdout)
            raise typer.Exit(OK) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    return wrapped


def explain(exc: CtsError | UserError | GatewayUnreachableError) -> int:
    """Say in one line what is wrong; returns the exit code that goes with it."""
    if isinstance(exc, UserError | GatewayUnreachableError):
        typer.echo(f"error: {clean(exc)}", err=True)
        return exc.code if isinstance(exc, UserError) else UNREACHABLE
    code = f" (appcode {exc.appcode})" if exc.appcode is not None else ""
    if exc.appcode is None and exc.request_id:
        code = f" (request {clean(exc.request_id)})"
    typer.echo(f"error: {clean(exc.message)}{code}", err=True)
    for detail in exc.details[1:20]:
        where = ".".join(str(part) for part in detail.loc)
        typer.echo(f"  {clean(where)}: {clean(detail.msg)}", err=True)
    if len(exc.details) > 20:
        typer.echo(f"  and {len(exc.details) - 20} more", err=True)
    if exc.appcode is None:  # a 5xx, or no gateway at all
        return SERVER
    denied = exc.status in (401, 403, 404) or exc.appcode == AppCode.INVALID_USER.code
    return NO_SUCH if denied else BAD_INPUT


def for_each(items: Iterable[str], action: Callable[[str], object]) -> tuple[list[str], int]:
    """Do something to each of several jobs: one that is refused does not keep the others from it.

    Returns
    -------
    tuple
        What it was done to, and the exit code: the largest of all.
    """
    done, worst = [], OK
    for item in items:
        try:
            action(item)
        except (CtsError, UserError) as exc:
            worst = max(worst, explain(exc))
        else:
            done.append(item)
    return done, worst


def leave(code: int) -> None:
    """End with an exit code, where it is not 0."""
    if code:
        raise typer.Exit(code)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and end."""
    typer.echo(f"error: {clean(message)}", err=True)
    raise typer.Exit(code)


def examples(*lines: str) -> str:
    """Return the end of a help text: what people type."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def new_app(help_text: str, **options: Any) -> typer.Typer:
    """Make a command line with plain help, plain errors and the exit codes explained."""
    return typer.Typer(
        help=f"{help_text}\n\n{EXIT_CODES}",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        **options,
    )


def single(
    function: Callable[..., object],
    help_text: str,
    epilog: str,
    kind: type[TyperCommand] = TyperCommand,
    **settings: Any,
) -> typer.Typer:
    """Make a program that is one command, of another class where it reads its command line in a way of its own."""
    app = new_app(help_text)
    app.command(
        help=f"{help_text}\n\n{EXIT_CODES}",
        epilog=epilog,
        cls=kind,
        context_settings=settings or None,
    )(function)
    return app


def run(app: typer.Typer, **options: Any) -> None:
    """Run a program. What the terminal's encoding has no letter for is shown as `?`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(**options)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def connect(socket: str) -> Client:
    """Open the client: on the socket, unless the command was told a URL."""
    remote = where.said()
    if remote.url is None:
        return Client(socket)
    ca_file = str(remote.ca_file) if remote.ca_file is not None else None
    try:
        return Client(url=remote.url, token=remote.token(), ca_file=ca_file)
    except ValueError as exc:
        raise UserError(str(exc)) from exc


def _discard(stream: TextIO) -> None:
    """Let what is still to be written go nowhere, so that the end of the interpreter does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
