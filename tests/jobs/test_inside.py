"""What srun and shifter are in a batch script that is inside its image already, tried in a real bash."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gateway.jobs.inside import FUNCTIONS, has_functions, variables


def _bash(tmp_path: Path, command: str, **env: str) -> tuple[int, str, str]:
    (tmp_path / "env").write_text(FUNCTIONS)
    done = subprocess.run(
        ["bash", "-euc", command],
        env={"PATH": os.environ["PATH"], "BASH_ENV": str(tmp_path / "env"), "SHIFTER_IMAGEREQUEST": "docker:lab/tool:1", **env},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "before",
    [
        "srun",
        "srun -n 1",
        "srun -n1 -c 32 --cpu-bind=cores",
        "srun --ntasks=1 --cpus-per-task 4 -N 1 -u --exact",
        "srun --ntasks 1 -G 1 --gpu-bind=none -K1 --mpi=pmi2 --",
        "shifter",
        "shifter --image=docker:lab/tool:1",
        "shifter -i lab/tool:1 --clearenv --",
        "srun -n 1 -C cpu -q debug -t 5 shifter --module=gpu --image docker:lab/tool:1",
        "srun srun shifter",
    ],
)
def test_the_command_behind_them_is_run_with_its_own_words(tmp_path: Path, before: str) -> None:
    code, out, err = _bash(tmp_path, f"""{before} printf '<%s>' -n 'a b' '$(id)' '*' --""")
    assert (code, out, err) == (0, "<-n><a b><$(id)><*><-->", "")


def test_its_exit_code_and_its_streams_are_the_commands(tmp_path: Path) -> None:
    assert _bash(tmp_path, "srun -n 1 bash -c 'cat; exit 7' <<< text") == (7, "text\n", "")
    assert _bash(tmp_path, "srun true && echo good")[1] == "good\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("srun -n 4 true", "srun: 4 tasks on a node"),
        ("srun --ntasks=2 true", "srun: 2 tasks on a node"),
        ("srun -o x true", "srun: -o: files are written by >"),
        ("srun --error=x true", "files are written by >"),
        ("srun --pty bash", "srun: --pty is not there"),
        ("srun -n 1", "srun: no command"),
        (
            "shifter --image=docker:other:1 true",
            "shifter: a job has one image, lab/tool:1; other:1 is another",
        ),
        ("shifter --volume=/a:/b true", "a container sees no directories"),
        ("shifter --env X=1 true", "shifter: --env is not there"),
    ],
)
def test_what_would_not_be_what_was_asked_for_is_refused(
    tmp_path: Path, command: str, said: str
) -> None:
    code, out, err = _bash(tmp_path, f"{command}; echo went on")
    assert (code, out) == (1, "")
    assert said in err


def test_as_many_tasks_as_there_are_nodes_are_one_on_each(tmp_path: Path) -> None:
    nodes = {"SLURM_NNODES": "2", "SLURM_NTASKS": "2"}
    assert _bash(tmp_path, "srun echo one", **nodes)[:2] == (0, "one\n")
    assert _bash(tmp_path, "srun -n 2 echo one", **nodes)[:2] == (0, "one\n")
    assert "2 tasks on a node" in _bash(tmp_path, "srun -n 4 echo one", **nodes)[2]
    assert "3 tasks on a node" in _bash(tmp_path, "srun echo one", SLURM_NTASKS="3")[2]


def test_an_srun_of_the_image_stays(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/srun").write_text("#!/bin/sh\necho its own\n")
    (tmp_path / "bin/srun").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert _bash(tmp_path, "srun -n 4 true", PATH=path)[1] == "its own\n"


@pytest.mark.parametrize(
    ("script", "has"),
    [
        ("#!/bin/bash\nid\n", True),
        ("#!/usr/local/bin/bash -l\nid\n", True),
        ("#!/usr/bin/env bash\nid\n", True),
        ("#!/bin/sh\nid\n", False),
        ("#!/usr/bin/env python3\nid\n", False),
        ("id\n", False),
        (None, False),
    ],
)
def test_they_are_for_scripts_of_bash_that_have_no_other_use_for_its_variable(
    script: str | None, has: bool
) -> None:
    assert has_functions(script, {"PATH": "/bin"}, {}) is has
    assert not has_functions(script, {"BASH_ENV": "/x"}, {})
    assert not has_functions(script, {}, {"BASH_ENV": "/x"})
    assert variables("/in", "lab/tool:1")["BASH_ENV"] == "/in/.cts-bash-env"
