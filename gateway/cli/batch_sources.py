"""Where the options of ctsbatch come from: the command line, then CTSBATCH_… variables, then the script, then the user's file.

Those of the script and of the file are put below the others as defaults, so that all are read and refused in one way.
"""

from __future__ import annotations

import difflib
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from gateway.cli import common, where
from gateway.cli.directives import MAX_SCRIPT, Line, ScriptError, notes, read_directives
from gateway.cli.sbatch_options import remedy

# A script may be anybody's: it does not say to whom a token is sent, and is not asked for another one.
_NOT_IN_SCRIPTS = frozenset({"--wrap", "--help", "--socket", "--url", "--token-file", "--ca-file"})
_META = "gateway.cli.batch"
_MOST = 4 * MAX_SCRIPT + 1  # bytes: more characters than that no script may have


@dataclass(frozen=True)
class Script:
    """The text of a script, and the name of its file; `notes` are for its user."""

    name: str
    text: str
    notes: tuple[str, ...] = ()


class BatchCommand(TyperCommand):
    """A command whose options may also stand in a script, and in the user's file."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Read the command line, with what the script and the file say below it."""
        try:
            script, below = self._below(list(args))
            ctx = super().make_context(info_name, args, parent, default_map=below, **extra)
        except typer.TyperException as exc:
            said = _remedy(exc)
            if said is None:
                raise
            common.fail(said, common.BAD_INPUT)
        ctx.meta[_META] = script
        return ctx

    def _below(self, args: list[str]) -> tuple[Script | None, dict[str, Any]]:
        config = _config_file()
        below = self._of_file(config) if config.is_file() else {}
        ctx = self.context_class(self, resilient_parsing=True, **self.context_settings)
        values, _, _ = self.make_parser(ctx).parse_args(args)
        path = values.get("script")
        if not isinstance(path, str) or "wrap" in values:
            return None, below
        script = _read(path)
        try:
            lines = read_directives(script.text)
        except ScriptError as exc:
            common.fail(f"{path}: {exc}", common.BAD_INPUT)
        return script, below | self._of_script(path, lines)

    def _of_script(self, path: str, lines: Sequence[Line]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for line in lines:
            try:
                self._of_line(line.words, found)
            except typer.TyperException as exc:
                said = _remedy(exc) or exc.format_message()
                common.fail(f"{path}: line {line.number}: {said}", common.BAD_INPUT)
        return found

    def _of_line(self, words: Sequence[str], found: dict[str, Any]) -> None:
        """Add what a line says; raises typer.TyperException."""
        ctx = self.context_class(self, **self.context_settings)
        values, rest, _ = self.make_parser(ctx).parse_args(list(words))
        arguments = [each.name for each in self.params if each.opts[0][0] != "-" and each.name]
        strays = [*rest, *(v for name in arguments for v in _listed(values.pop(name, None)))]
        if strays:
            raise typer.TyperException(
                f"{strays[0]!r} is no option; a value with blanks is put into quotes"
            )
        for each in self.params:
            if each.name is None or each.name not in values:
                continue
            denied = _NOT_IN_SCRIPTS.intersection(each.opts)
            if denied:
                raise typer.TyperException(f"{min(denied)} is for the command line alone")
            given = values[each.name]
            each.process_value(ctx, given)
            if isinstance(given, list):
                given = [*found.get(each.name, ()), *given]
            found[each.name] = given

    def _of_file(self, path: Path) -> dict[str, Any]:
        """Read the user's file: names of long options, and their values."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            common.fail(f"cannot read {path}: {exc.strerror}", common.BAD_INPUT)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            common.fail(f"{path} is not valid TOML: {exc}", common.BAD_INPUT)
        known = {
            name.removeprefix("--"): each
            for each in self.params
            for name in each.opts
            if name.startswith("--") and name not in _NOT_IN_SCRIPTS
        }
        found: dict[str, Any] = {}
        for key, value in raw.items():
            each = known.get(key)
            if each is None or each.name is None:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "see the options of ctsbatch"
                common.fail(f"{path}: {key}: unknown option; {hint}", common.BAD_INPUT)
            found[each.name] = self._checked(path, key, each, value)
        return found

    def _checked(self, path: Path, key: str, each: Any, value: object) -> object:
        many = each.multiple
        good = isinstance(value, str | int) and not (isinstance(value, bool) and not each.is_flag)
        if many and isinstance(value, list):
            good = all(isinstance(item, str) for item in value)
        if not good:
            common.fail(
                f"{path}: {key}: must be text{', a list of it' if many else ''} or a whole number",
                common.BAD_INPUT,
            )
        if many and not isinstance(value, list):
            value = [value]
        try:
            each.process_value(self.context_class(self), value)
        except typer.TyperException as exc:
            common.fail(f"{path}: {exc.format_message()}", common.BAD_INPUT)
        return value


def script_of(ctx: typer.Context) -> Script | None:
    """Return the script that was named on the command line."""
    found: Script | None = ctx.meta.get(_META)
    return found


def _listed(value: object) -> Sequence[str]:
    if value is None:
        return ()
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def _remedy(exc: typer.TyperException) -> str | None:
    """Say what to do in place of an option that there is not, where sbatch has it."""
    option: str | None = getattr(exc, "option_name", None)
    return None if option is None else remedy(option)


def _config_file() -> Path:
    return where.default_token_file().with_name("ctsbatch.toml")


def _read(path: str) -> Script:
    try:
        raw = sys.stdin.buffer.read(_MOST) if path == "-" else _some(Path(path))
    except OSError as exc:
        _refuse(path, f"it cannot be read: {exc.strerror}")
    if len(raw) == _MOST:
        _refuse(path, f"it is longer than the {MAX_SCRIPT} characters that travel with a job")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(path, "it is no text in UTF-8")
    name = "ctsbatch" if path == "-" else Path(path).name
    return Script(name, text, tuple(notes(text)))


def _some(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST)


def _refuse(path: str, why: str) -> NoReturn:
    common.fail(f"{path}: {why}", common.BAD_INPUT)
