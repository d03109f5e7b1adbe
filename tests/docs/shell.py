"""Running the console examples of a page: commands one by one in bash, what they print compared.

How the printed text below a command is compared
- `…` stands for any text inside a line; a line of `…` alone for any number of lines.
- Any run of spaces is like any other, and so is any run of dashes: columns are as wide as they need.
- The number of a job that an example submits is bound to the real one where it is first printed, and
  stands for it in what follows.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.docs.pages import Block, Page

_SUBMITTED = re.compile(r'(Submitted batch job |\{"job_id":")?([1-9][0-9]*)("\})?')


@dataclass(frozen=True)
class Example:
    """A command and what is to be printed, both as the page has them."""

    line: int
    command: str
    expected: tuple[str, ...]


def examples(block: Block) -> list[Example]:
    """Take a console block apart.

    Raises
    ------
    ValueError
        For a block that does not begin with a prompt.
    """
    prompt = "# " if block.options.get("user") == "root" else "$ "
    found: list[Example] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith(prompt):
            found.append(Example(number, line[2:], ()))
        elif not found:
            raise ValueError(f"{block.place}: the first line has no prompt {prompt!r}")
        elif line.startswith("> ") and not found[-1].expected:
            last = found.pop()
            found.append(Example(last.line, f"{last.command}\n{line[2:]}", ()))
        else:
            last = found.pop()
            found.append(Example(last.line, last.command, (*last.expected, line)))
    return found


def alike(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether what was printed is what the page says, by the rules above."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(re.escape(part) for part in _even(line).split("…")) + r"\n"
    text = "".join(f"{_even(line)}\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def _even(line: str) -> str:
    return re.sub(r"-{3,}", "---", re.sub(r" +", " ", line.rstrip()))


@dataclass
class Names:
    """What a page's names stand for at this cluster: addresses, a new image, the ids of jobs."""

    fixed: Mapping[str, str]
    jobs: dict[str, str] = field(default_factory=dict)

    def real(self, text: str) -> str:
        """Replace them all."""
        for name, value in self.fixed.items():
            text = text.replace(name, value)
        if not self.jobs:
            return text
        ids = "|".join(self.jobs)
        return re.sub(
            rf"(?<![0-9A-Za-z.:-])({ids})(?![0-9])", lambda match: self.jobs[match[1]], text
        )

    def bind(self, expected: Sequence[str], printed: Sequence[str]) -> None:
        """Learn the real id of a job that was submitted just now."""
        for said, real in zip(expected, printed, strict=False):
            one, two = _SUBMITTED.fullmatch(said), _SUBMITTED.fullmatch(real)
            if one is not None and two is not None:
                self.jobs[one[2]] = two[2]


class Shell:
    """A bash that is given one command at a time, its standard error in its output.

    Parameters
    ----------
    argv
        What comes before `bash`: a command that runs it elsewhere.
    begin
        The command that brings it to its directory.
    environment
        Added to that of the tests.
    """

    def __init__(
        self,
        argv: Sequence[str],
        begin: str = '__made=$(mktemp -d) && cd "$__made"',
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            [*argv, "bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        self.run(f"export TZ=UTC COLUMNS=80; {begin}")

    def run(self, command: str, seconds: float = 120) -> tuple[list[str], int]:
        """Run one command; returns the lines it printed and its exit status.

        Raises
        ------
        AssertionError
            When it takes too long, or ends the shell.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        # The last word gives $? back to the next command.
        stdin.write(
            (
                f"eval {shlex.quote(command)} </dev/null; __s=$?; "
                f'printf "\\n%s %d\\n" {self._mark} "$__s"; (exit "$__s")\n'
            ).encode()
        )
        stdin.flush()
        end = re.compile(rf"\n{self._mark} (\d+)\n".encode())
        said, deadline = b"", time.monotonic() + seconds
        while (found := end.search(said)) is None:
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{command!r} did not end in {seconds} s; so far: {said!r}"
            piece = os.read(stdout.fileno(), 65536)
            assert piece, f"the shell ended in {command!r}: {said!r}"
            said += piece
        return said[: found.start()].decode().splitlines(), int(found[1])

    def write(self, name: str, text: str) -> None:
        """Write a file into its directory."""
        printed, status = self.run(f"printf %s {shlex.quote(text)} > {shlex.quote(name)}")
        assert status == 0, printed

    def close(self) -> None:
        """End it and remove the directory that was made for it, none else: another one may be the checkout."""
        self.run('cd /; [ -z "${__made:-}" ] || rm -r -- "$__made"')
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


class Player:
    """Plays the console blocks of one page, in order, each user in a shell of their own."""

    def __init__(self, page: Page, names: Names, shell_of: Callable[[str], Shell]) -> None:
        self._page = page
        self._names = names
        self._make = shell_of
        self._shells: dict[str, Shell] = {}

    def play(self) -> int:
        """Run everything that is not marked with `skip`; returns the number of commands.

        Raises
        ------
        AssertionError
            At the first command that fails or prints something else.
        """
        count = 0
        try:
            for block in self._page.blocks():
                if block.language == "console" and "skip" not in block.options:
                    count += self._console(block)
                elif "file" in block.options:
                    text = self._names.real(block.text)
                    self._shell("alice").write(block.options["file"], text)
        finally:
            for shell in self._shells.values():
                shell.close()
        return count

    def _shell(self, user: str) -> Shell:
        if user not in self._shells:
            self._shells[user] = self._make(user)
        return self._shells[user]

    def _console(self, block: Block) -> int:
        user = "host" if "host" in block.options else block.options.get("user", "alice")
        shell, todo = self._shell(user), examples(block)
        for example, after in zip(todo, [*todo[1:], None], strict=True):
            place = f"{block.page}:{example.line}: {example.command}"
            printed, status = shell.run(self._names.real(example.command))
            told = after is not None and after.command == "echo $?"
            assert status == 0 or told, f"{place}\nexit status {status}:\n" + "\n".join(printed)
            if "submit" in example.command or "batch" in example.command or "POST" in place:
                self._names.bind(example.expected, printed)
            expected = [self._names.real(line) for line in example.expected]
            assert alike(expected, printed), (
                f"{place}\n-- the page:\n"
                + "\n".join(expected)
                + "\n-- printed:\n"
                + "\n".join(printed)
            )
        return len(todo)
