"""Running the commands: in this process, as subprocesses, and on a terminal of their own."""

from __future__ import annotations

import functools
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import typer
import typer.testing
from typer.testing import CliRunner

from gateway.cli import cts, ctsacct, ctsbatch, ctscancel, ctsqueue
from tests.api.gateway_fake import FakeGateway

APPS: dict[str, typer.Typer] = {
    "cts": cts.app,
    "ctsacct": ctsacct.app,
    "ctsbatch": ctsbatch.app,
    "ctscancel": ctscancel.app,
    "ctsqueue": ctsqueue.app,
}
PROGRAMS = sorted(APPS)
# The runner makes the same command anew for each call, which takes longer than what the tests are about.
typer.testing._get_command = functools.cache(typer.main.get_command)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str
    raw: bytes  # of standard output

    def refused(self, code: int, *words: str) -> None:
        """Check that it failed with nothing on standard output and one clear line on standard error."""
        assert self.code == code, self
        assert self.out == "", self
        assert self.err.startswith("error: "), self
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, self


def run(
    fake: FakeGateway,
    program: str,
    *args: str,
    text: str | bytes | None = None,
    env: Mapping[str, str | None] | None = None,
) -> Done:
    """Run a program in this process, on the fake gateway; `env` adds to its environment, None takes away."""
    env = {"CTS_SOCKET": str(fake.socket), "COLUMNS": "200", **(env or {})}
    options: dict[str, Any] = {}
    given = list(args)
    if program == "ctsbatch":  # as its main() does
        at = given.index("--") if "--" in given else len(given)
        given, options["obj"] = given[:at], given[at + 1 :]
    result = CliRunner().invoke(APPS[program], given, env=env, input=text, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr, result.stdout_bytes)


def start(
    fake: FakeGateway, *argv: str, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program as users do: a process of its own."""
    program, *args = argv
    code = f"from gateway.cli.{program} import main; main()"
    full = {**os.environ, "CTS_SOCKET": str(fake.socket), "PYTHONUNBUFFERED": "", **(env or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return _Started([sys.executable, "-c", code, *args], env=full, **options)


class _Started(subprocess.Popen[bytes]):
    """A process that does not outlive a test that failed."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


def on_terminal(
    fake: FakeGateway, *argv: str, until: Callable[[str], None] | None = None
) -> tuple[int, str]:
    """Run a program on a terminal; `until` is called with all that it has shown so far whenever there is more."""
    master, slave = pty.openpty()
    env = {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    with start(fake, *argv, env=env, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # EIO: the program has ended
            while piece := os.read(master, 65536):
                shown += piece
                if until is not None:
                    until(shown.decode("utf-8", "replace"))
        code = process.wait(20)
    os.close(master)
    return code, shown.decode("utf-8", "replace")
