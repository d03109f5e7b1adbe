"""The page of a command has every option that it takes, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer

from gateway.cli import cts, ctsacct, ctsbatch, ctscancel, ctsd, ctsqueue
from tests.docs.pages import Page, terms

SECTIONS = [
    "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO",
]  # fmt: skip
_OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def _app(module: Any) -> typer.Typer:
    """Return a program's app; one that is a single command may make it only when it is run."""
    app = getattr(module, "app", None)
    if not isinstance(app, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command()(getattr(module, module.__name__.rpartition(".")[2]))
    return app


APPS: Mapping[str, typer.Typer] = {
    module.__name__.rpartition(".")[2]: _app(module)
    for module in (cts, ctsbatch, ctsqueue, ctscancel, ctsacct, ctsd)
}


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, each in inner.items():
        yield from _leaves(f"{name} {word}", each)


COMMANDS = [
    leaf for name, app in APPS.items() for leaf in _leaves(name, typer.main.get_command(app))
]


def test_the_page_of_cts_has_the_options_of_the_program_itself() -> None:
    own = _taken(typer.main.get_command(APPS["cts"])) - {"--help"}
    assert set(_told(Page.read("docs/commands/cts.md").sections()["cts"])) == own


def _taken(command: Any) -> set[str]:
    names = {name for parameter in command.params for name in parameter.opts if name[0] == "-"}
    return names | {"--help"}


def _told(text: str) -> dict[str, str]:
    """Options in the terms of a section, with the whole term."""
    return {
        option: f"{term}: {said}"
        for term, said in terms(text).items()
        if term.startswith("`-")
        for option in _OPTION.findall(" ".join(re.findall(r"`([^`]*)`", term)))
    }


def _of_page(name: str) -> dict[str, str]:
    program, _, words = name.partition(" ")
    sections = Page.read(f"docs/commands/{program}.md").sections()
    if not words:
        return _told(sections["OPTIONS"])
    own = [title for title in sections if re.fullmatch(rf"{name}( [A-Z…]+)?", title)]
    assert len(own) == 1, f"{name} needs one section of its own in docs/commands/{program}.md"
    return {**_told(sections["Options of every command"]), **_told(sections[own[0]])}


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_the_page_has_every_option_of_the_command_and_no_other(name: str, command: Any) -> None:
    assert set(_of_page(name)) == _taken(command)


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_the_page_names_the_variables_that_an_option_is_read_from(name: str, command: Any) -> None:
    program = name.partition(" ")[0]
    sections = Page.read(f"docs/commands/{program}.md").sections()
    for parameter in command.params:
        variable = getattr(parameter, "envvar", None)
        if variable is not None:
            assert f"`{variable}`" in terms(sections["ENVIRONMENT"]), variable


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_the_page_tells_the_defaults_of_options(name: str, command: Any) -> None:
    told = _of_page(name)
    for parameter in command.params:
        if parameter.opts[0] in ("--socket", "file", "job") or parameter.opts[0][0] != "-":
            continue
        default = parameter.default
        if default not in (None, False) and not callable(default):
            text = told[parameter.opts[-1]]
            assert re.search(rf"Default: `?{re.escape(str(default))}`?[.,]", text), text
        if parameter.required:
            assert "Required." in told[parameter.opts[-1]]


@pytest.mark.parametrize("name", APPS)
def test_the_page_has_the_sections_of_a_man_page_in_order(name: str) -> None:
    text = Page.read(f"docs/commands/{name}.md").prose()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert re.search(rf"^## NAME\n\n{name} - \S", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted({name for name, _ in COMMANDS}))
def test_the_synopsis_has_every_command_with_its_options(name: str) -> None:
    program = name.partition(" ")[0]
    synopsis = Page.read(f"docs/commands/{program}.md").sections()["SYNOPSIS"]
    lines = [line for line in synopsis.splitlines() if re.match(rf"`{name}[ `]", line)]
    assert lines, f"{name} is not in the synopsis"
    words = set(_OPTION.findall(" ".join(lines)))
    assert words <= _taken(dict(COMMANDS)[name])


def test_the_field_table_of_ctsacct_has_every_field() -> None:
    from gateway.cli.acct_fields import NAMES

    text = Page.read("docs/commands/ctsacct.md").sections()["DESCRIPTION"]
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| ")]
    told = {name for row in rows for name in re.findall(r"[A-Z]\w+", row)}
    assert told == set(NAMES)


def test_the_exit_codes_of_the_page_are_those_of_the_command() -> None:
    from gateway.cli.common import EXIT_CODES

    text = Page.read("docs/commands/cts.md").sections()["EXIT STATUS"]
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert told == {int(number) for number in re.findall(r"\b(\d) ", EXIT_CODES)} | {130}
