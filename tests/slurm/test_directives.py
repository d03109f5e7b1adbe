"""Directives as fields for slurmrestd: all that a template can emit has one, and what has none is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import slurm_templates
from gateway.slurm.directives import FLAGS, TABLE, job_fields

TEMPLATES = sorted(Path(slurm_templates.__path__[0]).glob("*.sbatch.j2"))
_EMITTED = re.compile(r"^#SBATCH --([a-z-]+)", re.MULTILINE)


def number(value: int) -> dict[str, object]:
    return {"set": True, "infinite": False, "number": value}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_directive_of_every_template_is_in_the_table(template: Path) -> None:
    emitted = set(_EMITTED.findall(template.read_text()))
    assert emitted
    assert emitted <= TABLE.keys() | FLAGS.keys()


def test_a_script_becomes_the_fields_of_its_job() -> None:
    script = """\
#!/bin/sh
#SBATCH --job-name=cts-1-0-ab
#SBATCH --comment=cts:dev:1:0:ab
#SBATCH --array=0-4
#SBATCH --nodes=2
#SBATCH --ntasks=2

#SBATCH --mem=300M
# words for people
#SBATCH --time=15
#SBATCH --time-min=5
#SBATCH --signal=B:USR1@60
#SBATCH --open-mode=append
#SBATCH --requeue
exec /usr/bin/python3 -I /work/agent batch /work/job.json 0
#SBATCH --partition=behind-the-first-command
"""
    assert job_fields(script) == {
        "name": "cts-1-0-ab",
        "comment": "cts:dev:1:0:ab",
        "array": "0-4",
        "nodes": "2",
        "tasks": 2,
        "memory_per_node": number(300),
        "time_limit": number(15),
        "time_minimum": number(5),
        "kill_warning_flags": ["BATCH_JOB"],
        "kill_warning_signal": "USR1",
        "kill_warning_delay": number(60),
        "open_mode": ["APPEND"],
        "requeue": True,
    }


def test_cpus_and_gpus_of_tasks_become_what_sbatch_makes_of_them() -> None:
    fields = job_fields("#SBATCH --cpus-per-task=3\n#SBATCH --gpus-per-task=2\n")
    assert fields == {
        "cpus_per_task": 3,
        "tres_per_task": "cpu=3,gres/gpu=2",
        "tres_bind": "gres/gpu:per_task:2",
    }
    assert job_fields("#SBATCH --gpus-per-task=2\n")["tres_per_task"] == "gres/gpu=2"
    assert job_fields("#SBATCH --gpus-per-node=4\n") == {"tres_per_node": "gres/gpu:4"}
    assert job_fields("#SBATCH --cpus-per-task=3\n")["tres_per_task"] == "cpu=3"


@pytest.mark.parametrize(
    "line",
    [
        "#SBATCH --exclusive",
        "#SBATCH --hint=nomultithread",
        "#SBATCH -p regular",
        "#SBATCH --partition regular",
        "#SBATCH --partition=regular --qos=debug",
        "#SBATCH --partition=",
        "#SBATCH --partition",
        "#SBATCH --requeue=yes",
        "#SBATCH  --requeue",
        "#SBATCH",
        "#SBATCHX --requeue",
        "#SBATCH --ntasks=two",
        "#SBATCH --ntasks=0",
        "#SBATCH --mem=300",
        "#SBATCH --time=1:00:00",
        "#SBATCH --signal=USR1",
        "#SBATCH --signal=R:USR1@60",
        "#SBATCH --open-mode=both",
    ],
)
def test_what_the_table_does_not_know_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(line))):
        job_fields(f"#!/bin/sh\n{line}\nexec true\n")
