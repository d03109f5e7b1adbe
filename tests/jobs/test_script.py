"""What runs the script of a job."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.model import parse_job_input
from gateway.jobs.script import interpreter, program

IMAGE = {"entrypoint": ["/sum"], "cmd": ["-v"]}


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("echo hello", ["/bin/sh"]),
        ("", ["/bin/sh"]),
        (" #!/bin/bash", ["/bin/sh"]),
        ("# !/bin/bash", ["/bin/sh"]),
        ("#!/bin/bash", ["/bin/bash"]),
        ("#! /bin/bash ", ["/bin/bash"]),
        ("#!\t/bin/bash\t-e -u \t", ["/bin/bash", "-e -u"]),
        ("#!/usr/bin/env python3", ["/usr/bin/env", "python3"]),
    ],
)
def test_the_first_line_names_the_interpreter_else_it_is_sh(first: str, words: list[str]) -> None:
    assert interpreter(first) == words
    assert interpreter(first + "\nexit 7\n") == words


@pytest.mark.parametrize("rest", ["", " -e -u", " \t -x y ", "\t-e"])
def test_the_first_line_means_what_the_kernel_makes_of_it(tmp_path: Path, rest: str) -> None:
    show = tmp_path / "show"
    show.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    show.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(f"#!{show}{rest}\n")
    script.chmod(0o755)
    words = interpreter(script.read_text())
    done = [
        subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        for argv in ([os.fspath(script), "a b"], [*words, os.fspath(script), "a b"])
    ]
    assert done[0] == done[1]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("#!", "absolute path"),
        ("#!bash", "absolute path"),
        ("#!/bin/sh\r", "Unix line ends"),
        ("#!/" + "x" * 260, "at most 255"),
    ],
)
def test_a_first_line_that_names_nothing_is_refused(first: str, said: str) -> None:
    doc = {"cluster": "dev", "image": "a", "input_files": ["bkt/a"], "output_dir": "bkt/o"}
    with pytest.raises(GatewayError) as caught:
        parse_job_input(doc | {"script": first + "\ntrue\n"})
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert caught.value.details[0].loc == ("script",)
    assert said in caught.value.message


def test_a_script_takes_the_place_of_the_entrypoint_and_of_the_command() -> None:
    assert program(IMAGE, None, "/in") == IMAGE
    assert program(IMAGE, "#!/bin/awk -f\n", "/in") == {
        "entrypoint": ["/bin/awk", "-f", "/in/cts-script"],
        "cmd": [],
    }
