"""One container seen through: its logs, its time, its end. Shell commands stand for apptainer."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from gateway.agent.container import Command
from gateway.agent.mailbox import Stop
from gateway.agent.processes import oom_kills, processes
from gateway.agent.run import Ended, Limits, Runner
from gateway.agent.verdict import judge
from tests.agent.conftest import Site

PATIENT = Limits(runtime=60, grace=30, log_size=1_000_000)


def run(
    tmp_path: Path, script: str, limits: Limits = PATIENT, stop: Stop | None = None, err: str = ""
) -> Ended:
    argv = ["/bin/sh", "-c", script]
    runner = Runner(Command(argv, {"PATH": os.environ["PATH"]}), limits, stop or Stop())
    return runner.run(tmp_path / "stdout", Path(err) if err else tmp_path / "stderr")


def alive(pid: int) -> bool:
    return pid in {p.pid for p in processes()}


def end_when_there(path: Path, stop: Stop, reason: str) -> None:
    """Do as a signal handler does, once the container has made a file."""
    owner = os.getpid()

    def watch() -> None:
        while not path.exists():
            time.sleep(0.01)
        setattr(stop, reason, True)
        os.kill(owner, signal.SIGCHLD)  # what wakes the main thread: any signal

    threading.Thread(target=watch, daemon=True).start()


def test_both_streams_are_kept_and_the_exit_code_is_the_containers(tmp_path: Path) -> None:
    ended = run(tmp_path, "echo out; echo err >&2; exit 7")
    assert (ended.status, ended.stopped, ended.truncated) == (7, None, False)
    assert (tmp_path / "stdout").read_text() == "out\n"
    assert (tmp_path / "stderr").read_text() == "err\n"
    assert ended.tail == "err\n"
    assert (tmp_path / "stdout").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("code", [0, 1, 2, 64, 126, 127, 128, 137, 200, 255])
def test_every_exit_code_comes_through(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, f"exit {code}").status == code


@pytest.mark.parametrize("number", [1, 6, 9, 11, 15])
def test_a_death_by_signal_is_told_as_a_shell_does(site: Site, tmp_path: Path, number: int) -> None:
    ended = run(tmp_path, f"kill -{number} $$")
    assert ended.status == 128 + number
    result = judge(site.job(), ended, memory_ran_out=False)
    assert (result.outcome, result.exit_code, result.signal) == (
        "container-failed",
        128 + number,
        number,
    )
    assert signal.Signals(number).name in (result.error or "")


def test_a_log_is_cut_at_its_size_and_the_container_goes_on(tmp_path: Path) -> None:
    limits = PATIENT._replace(log_size=1000)
    ended = run(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x; echo end >&2; exit 3", limits)
    assert (ended.status, ended.truncated, ended.log_error) == (3, True, None)
    text = (tmp_path / "stdout").read_text()
    assert text == "x" * 1000 + "\n[cts: over 1000 bytes; the rest was not kept]\n"
    assert (tmp_path / "stderr").read_text() == "end\n"


def test_a_log_of_exactly_its_size_is_not_cut(tmp_path: Path) -> None:
    ended = run(tmp_path, "printf 12345", PATIENT._replace(log_size=5))
    assert ended.truncated is False
    assert (tmp_path / "stdout").read_text() == "12345"


def test_a_full_disk_costs_that_log_and_neither_the_other_nor_the_container(
    site: Site, tmp_path: Path
) -> None:
    ended = run(tmp_path, "echo lost >&2; echo kept; echo lost >&2; exit 0", err="/dev/full")
    assert (tmp_path / "stdout").read_text() == "kept\n"
    assert (ended.status, ended.truncated) == (0, True)
    result = judge(site.job(), ended, memory_ran_out=False)
    assert result.outcome == "ok"
    assert result.error == "the log is not complete: full: the disk is full"


def test_a_container_past_its_runtime_is_asked_to_end(tmp_path: Path) -> None:
    limits = PATIENT._replace(runtime=0.2)
    ended = run(tmp_path, "trap 'echo ending; exit 4' TERM; while :; do sleep 0.02; done", limits)
    assert (ended.status, ended.stopped) == (4, "runtime")
    assert (tmp_path / "stdout").read_text() == "ending\n"


def test_one_that_ignores_it_is_killed_with_its_children_after_the_grace(tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/pid; while :; do sleep 0.02; done"
    ended = run(tmp_path, script, Limits(runtime=0.2, grace=0.2, log_size=100))
    assert (ended.status, ended.stopped) == (137, "runtime")
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_stopped_container_is_killed_too(tmp_path: Path) -> None:
    ended = run(tmp_path, "kill -STOP $$; sleep 60", Limits(runtime=0.2, grace=0.2, log_size=100))
    assert (ended.status, ended.stopped) == (137, "runtime")


@pytest.mark.parametrize("reason", ["timeout", "canceled"])
def test_a_container_ends_when_its_job_shall(tmp_path: Path, reason: str) -> None:
    stop = Stop()
    ready = tmp_path / "ready"
    end_when_there(ready, stop, reason)
    ended = run(
        tmp_path, f"trap 'exit 5' TERM; : > {ready}; while :; do sleep 0.02; done", stop=stop
    )
    assert (ended.status, ended.stopped) == (5, reason)


def test_a_cancellation_shortens_the_grace(tmp_path: Path) -> None:
    stop = Stop()
    ready = tmp_path / "ready"
    end_when_there(ready, stop, "canceled")
    script = f"trap '' TERM; : > {ready}; while :; do sleep 0.02; done"
    ended = run(tmp_path, script, Limits(3600, 3600, 100, cancel_grace=0.2), stop)
    assert (ended.status, ended.stopped) == (137, "canceled")


def test_a_child_that_outlives_the_container_with_its_logs_open_is_ended(tmp_path: Path) -> None:
    limits = PATIENT._replace(drain=0.2)
    ended = run(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; echo done", limits)
    assert ended.status == 0
    assert (tmp_path / "stdout").read_text() == "done\n"
    assert not alive(int((tmp_path / "pid").read_text()))


def test_output_that_comes_after_the_containers_end_is_kept(tmp_path: Path) -> None:
    run(tmp_path, "(sleep 0.3; echo late) & echo early")
    assert (tmp_path / "stdout").read_text() == "early\nlate\n"


def test_a_container_reads_no_input_and_its_session_is_its_own(tmp_path: Path) -> None:
    ended = run(tmp_path, "cat; echo; cut -d ' ' -f 6 /proc/$$/stat; echo $$")
    assert ended.status == 0
    _, session, pid = (tmp_path / "stdout").read_text().split("\n")[:3]
    assert int(session) == int(pid)


def test_a_string_too_long_for_a_process_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    runner = Runner(Command(["/bin/echo", "x" * 131_072], {}), PATIENT, Stop())
    with pytest.raises(OSError, match="Argument list too long"):
        runner.run(tmp_path / "stdout", tmp_path / "stderr")
    assert signal.getsignal(signal.SIGCHLD) is handler


def test_what_killed_a_container_for_memory_is_told_though_it_exited_0(site: Site) -> None:
    result = judge(site.job(), Ended(0, None, False, None, ""), memory_ran_out=True)
    assert result.outcome == "container-failed"
    assert "ran out of memory" in (result.error or "")


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        ("FATAL:   container creation failed: no\n", "apptainer could not start the container: "),
        (
            "FATAL:   while executing starter: engine configuration too big > 1048448\n",
            "more than Apptainer takes",
        ),
        ("mine: exit 255\n", "ended with exit code 255"),
    ],
)
def test_a_container_that_apptainer_could_not_start_says_why(
    site: Site, tail: str, said: str
) -> None:
    result = judge(site.job(), Ended(255, None, False, None, tail), memory_ran_out=False)
    assert said in (result.error or "")


@pytest.mark.parametrize(
    ("cgroup", "file", "text", "kills"),
    [
        ("0::/job/step\n", "job/step/memory.events", "low 0\noom 4\noom_kill 3\n", 3),
        (
            "5:memory:/job\n3:cpu,cpuacct:/x\n0::/\n",
            "memory/job/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            2,
        ),
        ("5:memory:/job\n", "memory/job/memory.oom_control", "under_oom 0\n", None),
        ("0::/job\n", "elsewhere", "oom_kill 1\n", None),
    ],
    ids=["v2", "v1", "old kernel", "no file"],
)
def test_kills_for_memory_are_read_from_the_cgroup_of_either_version(
    tmp_path: Path, cgroup: str, file: str, text: str, kills: int | None
) -> None:
    (tmp_path / "proc-self-cgroup").write_text(cgroup)
    (tmp_path / "sys" / file).parent.mkdir(parents=True)
    (tmp_path / "sys" / file).write_text(text)
    assert oom_kills(tmp_path / "proc-self-cgroup", tmp_path / "sys") == kills
    assert oom_kills(tmp_path / "no-such-file", tmp_path / "sys") is None
