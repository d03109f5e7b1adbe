"""Which gateway a command speaks to: the Unix socket, or a URL with a token from a file.

A token never stands on a command line, which everybody on the machine can read, nor in an environment variable, which
Slurm copies into jobs and their records.
"""

from __future__ import annotations

import inspect
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST = 4096  # bytes of a token's file

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="CTS_URL", help="The gateway's https URL, in place of the socket."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="CTS_TOKEN_FILE",
        help="With --url: the file with your token, which nobody else may read. Default: ~/.config/cts/token",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="CTS_CA_FILE",
        help="With --url: the certificates of the CAs to trust (PEM), in place of the system's.",
    ),
]
_OPTIONS: Mapping[str, Any] = {"url": Url, "token_file": TokenFile, "ca_file": CaFile}


class WhereError(Exception):
    """The options do not say which gateway, or the token's file cannot be used."""


@dataclass(frozen=True)
class Where:
    """What was said of the gateway besides its socket."""

    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    def token(self) -> str | None:
        """Return the token of the file; None where no file was named and there is none at the usual place."""
        if self.token_file is not None:
            return read_token(self.token_file)
        usual = default_token_file()
        return read_token(usual) if usual.exists() else None


_said: ContextVar[Where] = ContextVar("where")


def said() -> Where:
    """Return what the command at hand was told."""
    return _said.get(Where())


def default_token_file() -> Path:
    """Return where a user's token is looked for."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cts" / "token"


def read_token(path: Path) -> str:
    """Read a token's file.

    Raises
    ------
    WhereError
        When it cannot be read, others can read it, or it holds no token.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(
                file.fileno()
            )  # of what was opened, whatever is put in its place meanwhile
            data = file.read(_LARGEST + 1)
    except OSError as exc:
        raise WhereError(f"cannot read the token file {path}: {exc.strerror}") from exc
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise WhereError(
            f"the token file {path} can be read or changed by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 {path}; "
            "if it was so for long, make another token"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise WhereError(f"the token file {path} belongs to somebody else; copy it to one of yours")
    text = data.decode("ascii", "replace").strip()
    if not text or len(data) > _LARGEST or len(text.split()) != 1 or not text.isprintable():
        raise WhereError(
            f"the token file {path} holds no token; make one on the gateway's own machine with: cts token create"
        )
    return text


def signature_of(function: Callable[..., Any]) -> tuple[inspect.Signature, str | None]:
    """Return the signature that a command shall have, and the name of its context; None for one that uses no gateway."""
    own = inspect.signature(function, eval_str=True)
    if "socket" not in own.parameters:
        return own, None
    parameters = list(own.parameters.values())
    context = next((p.name for p in parameters if p.annotation is typer.Context), None)
    if context is None:
        context = "context_of_where"
        first = inspect.Parameter(
            context, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        parameters.insert(0, first)
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    return own.replace(parameters=parameters), context


@contextmanager
def told(values: dict[str, Any], context: str, own: Mapping[str, Any]) -> Iterator[None]:
    """Take out of the values of a command's parameters what is not its `own`, and let `said` return it meanwhile.

    Raises
    ------
    WhereError
        When the command line has both a socket and a URL.
    """
    ctx: typer.Context = values[context] if context in own else values.pop(context)
    where = Where(*(values.pop(name) for name in _OPTIONS))
    if _typed(ctx, "socket"):
        if _typed(ctx, "url"):
            raise WhereError("--socket and --url are two gateways; give one of them")
        where = Where()  # what is typed wins over CTS_URL
    before = _said.set(where)
    try:
        yield
    finally:
        _said.reset(before)


def _typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
