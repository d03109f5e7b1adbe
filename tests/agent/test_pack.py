"""Several containers side by side in one array task, in real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.agent.site import Site
from tests.agent.task import Task

# A container's output directory lies in the directory of its number.
MINE = 'n=$(basename "$(dirname "$OUT")"); '


def _wait(task: Task) -> tuple[int, str]:
    process = task.process
    printed, _ = process.communicate(timeout=60)
    return process.returncode, printed


def test_each_container_of_a_task_has_steps_results_and_logs_of_its_own(
    task: Task, site: Site
) -> None:
    task.start(MINE + 'echo "I am $n"; echo x > "$OUT/$n.txt"', containers=3)
    code, printed = _wait(task)
    assert code == 0, printed
    for n in range(3):
        result = task.result_of(n)
        assert (result["outcome"], result["submission"]) == ("ok", 0)
        assert [o["path"] for o in result["outputs"]] == [f"{n}.txt"]
        assert (site.job_dir / str(n) / "stdout").read_text() == f"I am {n}\n"
    calls = [set(line.split()) for line in (site.work / "srun-calls").read_text().splitlines()]
    names = {word for call in calls for word in call if word.startswith("--job-name=")}
    assert names == {
        f"--job-name={phase}-{n}" for phase in ("stage-in", "run", "stage-out") for n in range(3)
    }
    assert all("--exact" in call for call in calls)
    runs = [call for call in calls if any(word.startswith("--job-name=run") for word in call)]
    others = [call for call in calls if call not in runs]
    assert all("--overlap" not in call and "--mem=140M" in call for call in runs)
    assert all("--overlap" in call for call in others)
    asked = {(r["container"], r["submission"]) for r in site.daemon.requests}
    assert asked == {(0, 0), (1, 0), (2, 0)}


def test_one_that_fails_does_not_end_its_neighbours_and_the_task_has_its_exit_code(
    task: Task, site: Site
) -> None:
    # The others end only when the one that fails has left its result.
    script = (
        f'[ "$n" != 1 ] || exit 7; until [ -e "{site.job_dir}/1/result.json" ]; do sleep 0.02; done'
    )
    task.start(f'{MINE}{script}; echo x > "$OUT/$n.txt"', containers=3)
    code, printed = _wait(task)
    assert code == 7
    assert [task.result_of(n)["outcome"] for n in range(3)] == ["ok", "container-failed", "ok"]
    assert "container 1: container-failed: the container ended with exit code 7" in printed


@pytest.mark.parametrize(
    ("number", "outcome"), [(signal.SIGUSR1, "timeout"), (signal.SIGTERM, "canceled")]
)
def test_what_slurm_tells_the_task_each_container_is_told(
    task: Task, site: Site, number: signal.Signals, outcome: str
) -> None:
    task.start(f'{MINE}: > "$OUT/ready"; exec sleep 60', containers=3)
    for n in range(3):
        task.when(f"../{n}/out/ready")
    task.signal(number)
    _wait(task)
    assert {task.result_of(n)["outcome"] for n in range(3)} == {outcome}
    uploaded = {"out/ready"} if outcome == "timeout" else set()
    assert {key for key in site.s3.objects if key.startswith("out/")} == uploaded


def test_a_signal_that_comes_before_a_container_listens_reaches_it_when_it_does(
    tmp_path: Path,
) -> None:
    (tmp_path / "child.py").write_text(
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "folder.joinpath('started-' + sys.argv[1]).touch()\n"
        "while not folder.joinpath('listen').exists(): time.sleep(0.01)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])\n"
        "time.sleep(30)\n"
    )
    code = "import sys; from gateway.agent.pack import side_by_side; "
    code += "sys.exit(side_by_side([sys.executable, sys.argv[1]], [0, 1]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "child.py")])
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("started-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    (tmp_path / "listen").touch()
    assert process.wait(25) == 5


def test_a_container_whose_process_is_killed_leaves_its_neighbours_alone(
    task: Task, site: Site
) -> None:
    # The parent of the container's parent, its run step, is the process of this container.
    script = '[ "$n" != 1 ] || kill -KILL $(ps -o ppid= -p $PPID); echo x > "$OUT/$n.txt"'
    task.start(MINE + script, containers=2)
    code, _ = _wait(task)
    assert code != 0
    assert task.result_of(0)["outcome"] == "ok"
    assert not (site.job_dir / "1" / "result.json").exists()


def test_a_task_without_containers_runs_none_and_says_so(task: Task) -> None:
    task.start("true", environ={"SLURM_ARRAY_TASK_ID": "4"})
    code, printed = _wait(task)
    assert code == 70
    assert "no containers for array task 4" in printed
