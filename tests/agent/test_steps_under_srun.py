"""How a step is started: by srun, again and again where that fails, and at last without it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.agent.mailbox import Stop
from gateway.agent.place import Place
from gateway.agent.srun import Steps
from tests.agent.conftest import SLURM, Site

NUMBERS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGALRM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give the handlers of signals back."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _steps(site: Site, tmp_path: Path, srun: str, pauses: list[float]) -> Steps:
    """Steps of an agent that only says that it began, and an srun of one's own."""
    program = tmp_path / "srun"
    program.write_text(f"#!/bin/sh\necho srun >> {tmp_path}/calls\n{srun}\n")
    program.chmod(0o755)
    agent = tmp_path / "agent.py"
    agent.write_text(
        "import sys; from pathlib import Path\n"
        f"open({str(tmp_path / 'calls')!r}, 'a').write('alone\\n')\n"
        "Path(sys.argv[3]).parent.joinpath('0', '.begun-' + sys.argv[2]).touch()\n"
    )
    job = site.job(srun=str(program), python=sys.executable, agent=str(agent))
    place = Place(job, 0, SLURM)
    place.clean_start()
    job_file = str(site.job_dir / "job.json")
    return Steps(job, job_file, 0, place, {"PATH": "/usr/bin:/bin"}, Stop(), pauses=pauses)


def _calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_outputs_are_uploaded_without_srun_once_it_has_failed_ten_times(
    site: Site, tmp_path: Path
) -> None:
    steps = _steps(site, tmp_path, "exit 1", [0.0] * 20)
    assert steps.run("stage-out") == 0
    assert _calls(tmp_path) == ["srun"] * 10 + ["alone"]


@pytest.mark.parametrize("phase", ["stage-in", "run"])
def test_a_container_never_runs_without_srun_that_holds_it_to_its_memory(
    site: Site, tmp_path: Path, phase: str
) -> None:
    steps = _steps(site, tmp_path, "exit 1", [0.0] * 12)
    assert steps.run(phase) == 1
    assert _calls(tmp_path) == ["srun"] * 13


def test_a_step_that_began_is_never_begun_again(site: Site, tmp_path: Path) -> None:
    steps = _steps(site, tmp_path, f"touch {site.base}/.begun-run; exit 3", [0.0] * 5)
    assert steps.run("run") == 3
    assert _calls(tmp_path) == ["srun"]
