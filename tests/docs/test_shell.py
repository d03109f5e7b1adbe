"""The checks of the examples themselves: they must be able to fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.pages import Page, terms
from tests.docs.shell import Names, Player, Shell, alike, examples


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A bash on this machine."""
    found = Shell([])
    yield found
    found.close()


def play(text: str) -> int:
    """Play a page on this machine."""
    return Player(Page("page.md", text), Names({"REG": "real"}), lambda user: Shell([])).play()


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        (["one", "two"], ["one", "two"]),
        (["one …"], ["one thing and another"]),
        (["a … c … e"], ["a b c d e"]),
        (["…"], []),
        (["…"], ["any", "lines"]),
        (["first", "…", "last"], ["first", "x", "y", "last"]),
        (["ID   NAME"], ["ID NAME  "]),
        (["-----"], ["-" * 80]),
        ([], []),
    ],
)
def test_output_that_the_page_describes_is_alike(expected: list[str], printed: list[str]) -> None:
    assert alike(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        (["one"], ["two"]),
        (["one"], ["one", "two"]),
        (["one", "two"], ["one"]),
        (["one … three"], ["one", "two three"]),
        (["first", "…", "last"], ["first", "x"]),
        (["a.c"], ["abc"]),
        (["onetwo"], ["one two"]),
        ([], ["something"]),
        (["--"], ["-----"]),
    ],
)
def test_output_that_the_page_does_not_describe_is_not_alike(
    expected: list[str], printed: list[str]
) -> None:
    assert not alike(expected, printed)


def test_a_page_whose_examples_are_right_plays_to_its_end() -> None:
    text = "```text file=data\nREG\n```\n\n```console\n$ cat data\nreal\n$ x=1\n$ echo $x\n1\n```\n"
    assert play(text) == 3


def test_a_page_that_shows_something_else_than_is_printed_fails_and_says_where() -> None:
    with pytest.raises(AssertionError, match=r"page.md:4: echo one\n-- the page:\ntwo"):
        play("text\n\n```console\n$ echo one\ntwo\n```\n")


def test_a_command_that_fails_fails_the_page_unless_its_status_is_shown() -> None:
    with pytest.raises(AssertionError, match="exit status 1"):
        play("```console\n$ false\n```\n")
    assert play("```console\n$ (exit 3)\n$ echo $?\n3\n```\n") == 2


def test_a_skipped_example_is_not_run() -> None:
    assert play('```console skip="it destroys the machine"\n$ false\n```\n') == 0


def test_the_number_of_a_submitted_job_stands_for_the_real_one_from_then_on() -> None:
    text = "```console\n$ echo 57 # submit\n1234\n$ echo job 1234 1234_0 12345 -1234\njob 57 57_0 12345 -1234\n```\n"
    with pytest.raises(AssertionError):
        play(text.replace("job 57 57_0", "job 58 58_0"))
    names = Names({})
    names.bind(["Submitted batch job 1234"], ["Submitted batch job 57"])
    assert names.real("1234 1234_0.run 12345 11234 .1234") == "57 57_0.run 12345 11234 .1234"
    assert play(text) == 2


def test_a_command_over_several_lines_is_one_example() -> None:
    (block,) = Page("p", "```console\n$ cat <<END\n> one\n> END\none\n```\n").blocks()
    (example,) = examples(block)
    assert example.command == "cat <<END\none\nEND"
    assert example.expected == ("one",)


def test_a_block_without_a_prompt_is_refused() -> None:
    (block,) = Page("p", "```console\nno prompt\n```\n").blocks()
    with pytest.raises(ValueError, match="p:1"):
        examples(block)


def test_a_command_cannot_eat_the_next_one_from_the_shells_input(shell: Shell) -> None:
    assert shell.run("cat") == ([], 0)
    assert shell.run("printf 'no end of line'; echo oops >&2") == (["no end of lineoops"], 0)


def test_the_shell_keeps_variables_and_the_last_exit_status(shell: Shell) -> None:
    shell.run("x='a b'; (exit 9)")
    assert shell.run('echo "$? $x"') == (["9 a b"], 0)


def test_a_command_that_hangs_is_told(shell: Shell) -> None:
    with pytest.raises(AssertionError, match="did not end"):
        shell.run("sleep 0.4", seconds=0.05)


def test_terms_of_definition_lists_are_found_with_what_is_said_of_them() -> None:
    text = "`a` (text)\n: First.\n\n  More.\n\n`b`\n: Second,\n  on two lines.\n\nNo term.\n"
    assert terms(text) == {"`a` (text)": "First.  More.", "`b`": "Second, on two lines."}
