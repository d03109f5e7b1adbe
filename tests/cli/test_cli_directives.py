"""#CTS lines: what is written is read, hostile lines are one clear error, and nothing in them is run or expanded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.cli.directives import ScriptError, join_words, notes, read_directives, split_words
from tests.api.gateway_fake import FakeGateway
from tests.cli.run import run

# What a line of text can have: no line's end, and nothing that is no text at all.
_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"))
_words = st.lists(_line, min_size=1, max_size=6)


@given(_words)
@example(["--job-name=a b", "#", "'", '"', "\\", "", "$(id)", "`id`"])
def test_words_that_are_written_are_read_again(words: list[str]) -> None:
    script = f"#!/bin/sh\n#CTS {join_words(words)}\nid\n"
    ((number, found),) = read_directives(script)
    assert (number, list(found)) == (2, words)


@given(_line)
def test_any_line_is_words_or_one_error_with_its_number(text: str) -> None:
    try:
        found = read_directives(f"#!/bin/sh\n#CTS {text}\nid\n")
    except ScriptError as exc:
        assert str(exc).startswith("line 2: a quote")  # noqa: PT017
        return
    assert [line.number for line in found] == ([2] if split_words(text) else [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-N 1 -t 5", ["-N", "1", "-t", "5"]),
        ("\t--time=5\t", ["--time=5"]),
        ('-J "two words" # a comment --bogus', ["-J", "two words"]),
        ("-J two' 'words", ["-J", "two words"]),
        (r"-J two\ words", ["-J", "two words"]),
        ("--export=A='x y',B=#1", ["--export=A=x y,B=#1"]),
        ("-J $HOME$(id)`id`", ["-J", "$HOME$(id)`id`"]),
        ("# nothing", []),
        ("", []),
    ],
)
def test_a_line_is_cut_as_sbatch_cuts_it(line: str, words: list[str]) -> None:
    assert split_words(line) == words


def test_only_lines_before_the_first_command_count_and_only_those_that_begin_with_the_mark() -> (
    None
):
    script = "#!/bin/bash\n# text\n\n#CTS -n 2\n  #CTS -n 3\n##CTS -n 4\n#CTSx -n 5\n#SBATCH -n 6\n  \n#CTS\n  id\n#CTS -n 7\n"
    assert read_directives(script) == [(4, ("-n", "2"))]
    assert notes(script) == ["line 12: #CTS is not read behind the first command, as with sbatch"]


def test_its_user_is_told_of_lines_that_are_not_read_and_of_commands_that_are_not_there() -> None:
    (first, second) = notes("#!/bin/sh\n#SBATCH -n 2\n  srun -n 2 shifter ./a\n")
    assert first == "its #SBATCH lines are not read; write #CTS"
    assert second.startswith(
        "line 3: the script runs inside its image already, where srun is for scripts of bash"
    )
    assert notes("#!/usr/bin/env bash\n#CTS -n 2\nsrun ./a\n") == []
    assert notes("#!/bin/bash\n#CTS -n 2\n#SBATCH -n 2\nsrunner x\n") == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "it is empty"),
        ("echo\n", "line 1: a batch script begins with #!"),
        ("#!/bin/sh\r\necho\r\n", r"line 1: it ends as on DOS"),
        ("#!/bin/sh\n\0", "there is a NUL"),
        ("#!/bin/sh\n" + "x" * 65536, "at most 65536"),
        ('#!/bin/sh\n#CTS -J "a\n', 'line 2: a quote " is not closed: -J "a'),
    ],
)
def test_what_is_no_batch_script_is_refused_with_its_line(script: str, said: str) -> None:
    with pytest.raises(ScriptError, match=said.replace("(", r"\(")):
        read_directives(script)


_NEEDED = ("--image", "tool:1", "--input", "data/a", "--results", "results/x")
_value = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), min_size=1
).filter(lambda text: not text.startswith("-"))


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "job-name": st.text("abc XYZ#'\"\\$`;|&é", min_size=1).map(lambda text: f"n{text}n"),
            "cpus-per-task": st.integers(1, 64).map(str),
            "qos": st.sampled_from(["debug", "regular"]),
            "licenses": st.sampled_from(["cfs", "cfs,scratch:2"]),
            "constraint": st.sampled_from(["cpu", "gpu&hbm80g", "[a|b]"]),
            "time": st.sampled_from(["5", "1:30", "1:30:00", "2-0", "1-12:30"]),
            "mem": st.sampled_from(["500", "2G", "2GB"]),
            "array": st.sampled_from(["1-4", "1,3,5", "0-9:3%2"]),
            "export": st.sampled_from(["NONE", "A=1,B=x y"]),
        },
    )
)
def test_options_in_a_script_are_those_of_the_command_line(
    fake: FakeGateway, tmp_path: Path, options: dict[str, str]
) -> None:
    words = [f"--{name}={value}" for name, value in options.items()]
    head = "".join(f"#CTS {join_words([word])}\n" for word in [*words, *_pairs(_NEEDED)])
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\n{head}id\n", encoding="utf-8")
    (tmp_path / "plain").mkdir(exist_ok=True)
    (tmp_path / "plain/job.sh").write_text("#!/bin/sh\nid\n")
    assert run(fake, "ctsbatch", str(tmp_path / "job.sh")).code == 0
    assert run(fake, "ctsbatch", *_NEEDED, *words, str(tmp_path / "plain/job.sh")).code == 0
    (_, one), (_, two) = fake.jobs.calls[-2:]
    del one["script"], two["script"]
    assert one == two


def _pairs(words: tuple[str, ...]) -> list[str]:
    return [f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True)]


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(_line)
@example("--job-name")
@example("--wrap=id")
@example("--url=https://evil.example")
@example("--token-file=/home/alice/.ssh/id_rsa")
@example("-o $(id) ; rm -r / ")
@example("--qoss=debug")
@example("-N 2-4")
def test_a_hostile_line_is_taken_or_is_one_clear_error(
    fake: FakeGateway, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "job.sh"
    path.write_text(f"#!/bin/sh\n#CTS {text}\nid\n", encoding="utf-8")
    before = len(fake.jobs.calls)
    done = run(fake, "ctsbatch", "-Q", *_NEEDED, str(path))
    if done.code == 0:
        assert len(fake.jobs.calls) == before + 1
        return
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.startswith("error: ")
    assert done.code == 2
    assert done.err.count("\n") == 1 + done.err.count("\n  ")
    assert all(letter == "\n" or letter.isprintable() for letter in done.err)
