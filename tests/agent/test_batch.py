"""A task of a Slurm job from claim to result.json, in real processes; scripts stand for srun and apptainer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.agent.batch import compose
from gateway.agent.files import StepResult
from gateway.agent.image_note import write_note
from tests.agent.conftest import Site
from tests.agent.fakes import SECRET, silent, status
from tests.agent.task import Task

COPY = 'cp "$IN"/* "$OUT"/; echo out; echo err >&2'


def test_a_container_that_works_brings_its_outputs_to_s3_and_tells_all_of_it(
    task: Task, site: Site
) -> None:
    ended = task.run(COPY, cpus=3)
    assert ended.code == 0, ended.printed
    steps = [
        {word for word in call.split() if word.startswith(("--job-name", "--mem", "--cpus-per"))}
        for call in (site.work / "srun-calls").read_text().splitlines()
    ]
    assert steps == [
        {"--cpus-per-task=3", "--job-name=stage-in", "--mem=0"},
        {"--cpus-per-task=3", "--job-name=run", "--mem=140M"},
        {"--cpus-per-task=3", "--job-name=stage-out", "--mem=0"},
    ]
    result = ended.result
    times = result.pop("times")
    md5 = "5d41402abc4b2a76b9719d911017c592"
    assert result == {
        "version": 1,
        "slurm_job_id": "77",
        "submission": 0,
        "host": "n1",
        "outcome": "ok",
        "exit_code": 0,
        "signal": None,
        "error": None,
        "bytes_in": 5,
        "bytes_out": 5,
        "image_cached": False,
        "outputs": [
            {"path": "a.txt", "size": 5, "etag": md5, "crc64nvme": result["outputs"][0]["crc64nvme"], "crc32": result["outputs"][0]["crc32"]}
        ],
        "log_truncated": False,
        "memory_ran_out": False,
        "disk_full": False,
    }  # fmt: skip
    assert list(times) == ["stage-in", "run", "stage-out"]
    moments = [moment for pair in times.values() for moment in pair]
    assert moments == sorted(moments)
    assert site.s3.objects["out/a.txt"].data == b"hello"
    site.daemon.wait_for("result")
    told = [(r["kind"], r.get("phase")) for r in site.daemon.requests]
    assert told == [
        ("phase", "stage-in"),
        ("stage-in", None),
        ("phase", "run"),
        ("phase", "stage-out"),
        ("stage-out", None),
        ("result", None),
    ]
    assert (site.base / "stdout").read_text() == "out\n"
    assert (site.base / "stderr").read_text() == "err\n"
    assert json.loads((site.base / "status.json").read_text())["phase"] == "end"
    left = {p.name for p in site.base.iterdir() if not p.name.startswith(".")}
    assert left == {"container.json", "grants", "result.json", "status.json", "stderr", "stdout"}


def test_a_container_that_fails_uploads_nothing_and_its_outputs_stay(
    task: Task, site: Site
) -> None:
    ended = task.run(COPY + "; exit 7")
    assert ended.code == 7
    assert ended.outcome == ("container-failed", 7)
    assert ended.error == "the container ended with exit code 7"
    assert ended.result["outputs"] == []
    assert "out/a.txt" not in site.s3.objects
    assert (site.base / "out" / "a.txt").read_text() == "hello"
    assert not (site.base / "in").exists()


def test_a_container_that_dies_of_a_signal_says_which(task: Task) -> None:
    ended = task.run("kill -SEGV $$")
    assert ended.code == 139
    assert (ended.outcome, ended.result["signal"]) == (("container-failed", 139), 11)


def test_a_run_step_that_is_killed_whole_is_most_likely_out_of_memory(task: Task) -> None:
    ended = task.run('kill -KILL "$PPID"')
    assert ended.code == 137
    assert ended.outcome == ("container-failed", 137)
    assert "most likely because it ran out of memory" in ended.error


def test_an_input_that_is_gone_ends_the_task_before_anything_runs(task: Task, site: Site) -> None:
    del site.s3.objects["in/1"]
    ended = task.run(COPY)
    assert ended.code == 70
    assert ended.outcome == ("stage-in-failed", None)
    assert ended.error == "input 'a.txt' is not there any more"
    assert list(ended.result["times"]) == ["stage-in"]
    assert not (site.base / "stdout").exists()


def test_an_image_that_cannot_be_had_ends_the_task(task: Task, site: Site) -> None:
    (site.work / "no-image").touch()
    ended = task.run(COPY)
    assert ended.code == 70
    assert ended.outcome == ("image-failed", None)
    assert "manifest unknown" in ended.error


def test_an_image_that_is_there_is_used_as_it_is(task: Task, site: Site) -> None:
    sif = site.work / "images" / ("sha256-" + "ab" * 32 + ".sif")
    sif.parent.mkdir()
    sif.write_text("sif")
    write_note(sif, "registry.example/test/image", "")
    (site.work / "no-image").touch()
    assert task.run(COPY).result["image_cached"] is True


def test_an_output_that_is_no_file_fails_the_container_before_anything_is_uploaded(
    task: Task, site: Site
) -> None:
    ended = task.run(COPY + '; mkfifo "$OUT/pipe"')
    assert ended.code == 70
    assert ended.outcome == ("stage-out-failed", 0)
    assert ended.error == "the output 'pipe' is a FIFO"
    assert site.s3.count("PUT") == 0
    assert (site.base / "out" / "a.txt").exists()


def test_an_output_that_s3_refuses_fails_the_container_and_the_others_are_told(
    task: Task, site: Site
) -> None:
    site.s3.fault(status(400, "InvalidRequest"), method="PUT", key="out/bad", times=9)
    ended = task.run(COPY + '; echo 1 > "$OUT/bad"')
    assert ended.outcome == ("stage-out-failed", 0)
    assert "'bad' could not be uploaded" in ended.error
    assert [o["path"] for o in ended.result["outputs"]] == ["a.txt"]
    for path in site.base.rglob("*"):  # nor does any file hold a URL that could be used
        assert not path.is_file() or SECRET.partition("=")[2] not in path.read_text(), path


def test_no_outputs_are_no_error_of_the_node(task: Task) -> None:
    ended = task.run("true")
    assert (ended.code, ended.outcome, ended.result["outputs"]) == (0, ("ok", 0), [])


def test_a_container_past_its_runtime_is_a_timeout_and_uploads_what_there_is(
    task: Task, site: Site
) -> None:
    ended = task.run(COPY + "; exec sleep 60", runtime_seconds=1)
    assert ended.code == 143
    assert ended.outcome == ("timeout", 143)
    assert ended.error == "the container ran past its runtime of 1 s"
    assert [o["path"] for o in ended.result["outputs"]] == ["a.txt"]
    assert site.s3.objects["out/a.txt"].data == b"hello"


def test_slurms_limit_while_the_container_runs_leaves_time_to_upload(
    task: Task, site: Site
) -> None:
    task.start(COPY + '; : > "$OUT/ready"; exec sleep 60')
    task.when("out/ready")
    task.signal(signal.SIGUSR1)
    ended = task.end()
    assert ended.outcome == ("timeout", 143)
    assert "Slurm's time limit" in ended.error
    assert {o["path"] for o in ended.result["outputs"]} == {"a.txt", "ready"}
    assert "out/ready" in site.s3.objects


@pytest.mark.parametrize(
    ("number", "outcome"), [(signal.SIGUSR1, "timeout"), (signal.SIGTERM, "canceled")]
)
def test_an_end_during_stage_in_comes_before_anything_runs(
    task: Task, site: Site, number: int, outcome: str
) -> None:
    site.s3.fault(silent(20), method="GET", times=99)
    task.start(COPY)
    task.when(".begun-stage-in")
    task.signal(number)
    ended = task.end()
    assert ended.code == 70
    assert ended.outcome == (outcome, None)
    assert not (site.base / "stdout").exists()


def test_a_cancellation_while_the_container_runs_uploads_nothing(task: Task, site: Site) -> None:
    task.start(COPY + '; : > "$OUT/ready"; exec sleep 60')
    task.when("out/ready")
    task.signal(signal.SIGTERM)
    ended = task.end()
    assert ended.outcome == ("canceled", 143)
    assert site.s3.count("PUT") == 0


def test_slurms_limit_during_stage_out_does_not_end_it(task: Task, site: Site) -> None:
    task.srun("stage-out", "kill -USR1 $PPID")
    ended = task.run(COPY)
    assert (ended.code, ended.outcome) == (0, ("ok", 0))
    assert "out/a.txt" in site.s3.objects


def test_a_cancellation_during_stage_out_is_no_success(task: Task, site: Site) -> None:
    site.s3.fault(silent(20), method="PUT", times=99)
    task.start(COPY)
    task.when(".begun-stage-out")
    task.signal(signal.SIGTERM)
    ended = task.end()
    assert ended.code == 70
    assert ended.outcome == ("canceled", 0)
    assert ended.result["outputs"] == []


def test_a_cancellation_between_run_and_stage_out_is_no_success(task: Task, site: Site) -> None:
    task.srun("run", '"$@"; code=$?; kill -TERM $PPID; exit $code')
    ended = task.run(COPY)
    assert ended.code == 70
    assert ended.outcome == ("canceled", 0)
    assert "canceled before stage-out" in ended.error
    assert ended.result["outputs"] == []


@pytest.mark.parametrize(("number", "outcome"), [("USR1", "timeout"), ("INT", "canceled")])
def test_an_end_between_stage_in_and_run_keeps_the_container_from_starting(
    task: Task, site: Site, number: str, outcome: str
) -> None:
    task.srun("stage-in", f'"$@"; code=$?; kill -{number} $PPID; exit $code')
    ended = task.run(COPY)
    assert ended.outcome == (outcome, None)
    assert "before run" in ended.error
    assert not (site.base / "stdout").exists()


def test_a_signal_before_the_step_listens_is_handed_on_once_it_does(task: Task, site: Site) -> None:
    task.srun("run", "kill -TERM $PPID; sleep 0.2")
    ended = task.run("exec sleep 60")
    assert ended.outcome[0] == "canceled"


def test_a_step_that_could_not_be_started_is_tried_again(task: Task, site: Site) -> None:
    task.srun("stage-in", f"rm {site.work}/srun-stage-in; exit 1")
    ended = task.run(COPY)
    assert ended.code == 0
    assert "stage-in: srun ended with 1, again in 1 s" in ended.printed


def test_a_step_that_dies_without_a_word_is_a_failure_of_its_phase(task: Task) -> None:
    task.srun("stage-out", 'touch "$(dirname "$6")/0/.begun-stage-out"; exit 3')
    ended = task.run(COPY)
    assert ended.outcome == ("stage-out-failed", 0)
    assert "stage-out ended without a result (exit code 3)" in ended.error


def test_a_claim_of_another_slurm_job_keeps_a_task_from_touching_anything(
    task: Task, site: Site
) -> None:
    (site.job_dir / "claim-0").write_text("76")
    ended = task.run(COPY)
    assert ended.code == 75
    assert "is run by Slurm job 76, not by 77" in ended.printed
    assert ended.result == {}
    assert {p.name for p in site.base.iterdir()} == {"container.json"}
    assert site.daemon.requests == []


def test_tasks_of_the_claiming_array_all_run(task: Task, site: Site) -> None:
    (site.job_dir / "claim-0").write_text("70")
    array = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "0"}
    assert task.run(COPY, environ=array).code == 0


def test_of_two_slurm_jobs_at_the_same_moment_exactly_one_claims(
    site: Site, tmp_path: Path
) -> None:
    code = "import sys; from pathlib import Path; from gateway.agent.batch import claim; input();\n"
    code += "for n in range(50): print(claim(Path(sys.argv[1]) / f'claim-{n}', sys.argv[2]))"
    root = Path(__file__).resolve().parents[2]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), owner],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for owner in ("76", "77")
    ]
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("\n")
        job.stdin.flush()
    first, second = (job.communicate(timeout=60)[0].split() for job in jobs)
    assert len(first) == 50
    assert first == second
    assert set(first) <= {"76", "77"}
    assert not list(tmp_path.glob(".claim*"))


def test_a_requeued_task_starts_over_and_numbers_its_requests_anew(task: Task, site: Site) -> None:
    task.run(COPY + "; exit 7")
    (site.base / "out" / "old").write_text("left by the first run")
    ended = task.run(COPY, environ={"SLURM_RESTART_COUNT": "1"})
    assert ended.code == 0
    assert [o["path"] for o in ended.result["outputs"]] == ["a.txt"]
    assert {r["seq"] // 1_000_000 for r in site.daemon.requests} == {0, 1}


def test_with_scratch_the_work_is_there_and_nothing_stays(task: Task, site: Site) -> None:
    scratch = site.work / "scratch"
    scratch.mkdir()
    ended = task.run(COPY + '; echo "$OUT"', scratch=str(scratch))
    assert ended.code == 0
    assert (site.base / "stdout").read_text().endswith(f"{scratch}/cts-1234-0-77/out\n")
    assert list(scratch.iterdir()) == []


def test_with_scratch_outputs_of_a_failed_container_move_to_the_shared_file_system(
    task: Task, site: Site
) -> None:
    scratch = site.work / "scratch"
    scratch.mkdir()
    script = 'mkdir "$OUT/d"; echo 1 > "$OUT/d/x"; ln -s d/x "$OUT/y"; mkfifo "$OUT/z"; exit 7'
    assert task.run(script, scratch=str(scratch)).code == 7
    assert (site.base / "out" / "d" / "x").read_text() == "1\n"
    assert (site.base / "out" / "y").readlink() == Path("d/x")
    assert not (site.base / "out" / "z").exists()
    assert list(scratch.iterdir()) == []


def test_a_container_that_starts_at_no_workdir_is_started_with_one(task: Task, site: Site) -> None:
    said = "FATAL:   failed to set working directory: chdir /data: no such file or directory"
    program = site.work / "bin" / "apptainer"
    lacks = f'case "$*" in *--scratch*) ;; *exec*) echo "{said}" >&2; exit 255;; esac\n'
    head, _, rest = program.read_text().partition("\n")
    program.write_text(f"{head}\n{lacks}{rest}")
    ended = task.run(COPY)
    assert ended.outcome == ("ok", 0)
    assert (site.base / "stderr").read_text() == "err\n"


def test_a_job_file_that_is_not_what_the_contract_says_is_told(task: Task) -> None:
    task.start(COPY, raw={"cpus": "two"})
    ended = task.end()
    assert ended.code == 70
    assert ended.outcome == ("agent-failed", None)
    assert "job.json: 'cpus' is missing or of the wrong type" in ended.error


def test_the_daemons_refusal_of_an_upload_is_the_result(task: Task, site: Site) -> None:
    task.srun("stage-out", f"until [ -e {site.base}/go ]; do sleep 0.01; done")
    task.start(COPY)
    task.when(".step-run.json")
    site.daemon.refuse = "containers 0 and 1 both write results/a.txt"
    (site.base / "go").touch()
    ended = task.end()
    assert ended.outcome == ("stage-out-failed", 0)
    assert ended.error == site.daemon.refuse


OK = StepResult("ok", exit_code=0)


@pytest.mark.parametrize(
    ("ran", "out", "limit_came", "outcome"),
    [
        (OK, StepResult("ok"), False, "ok"),
        (OK, StepResult("ok"), True, "ok"),
        (OK, StepResult("stage-out-failed", error="no"), False, "stage-out-failed"),
        (OK, StepResult("canceled", error="no"), False, "canceled"),
        (OK, StepResult("canceled", error="no"), True, "timeout"),
        (StepResult("timeout", 143, error="late"), StepResult("ok"), True, "timeout"),
        (StepResult("timeout", 143, error="late"), StepResult("canceled", error="no"), True, "timeout"),
    ],
)  # fmt: skip
def test_a_result_is_ok_only_when_both_the_container_and_its_upload_were(
    ran: StepResult, out: StepResult, limit_came: bool, outcome: str
) -> None:
    result = compose(ran, out, limit_came=limit_came)
    assert result.outcome == outcome
    assert (result.error is None) == (outcome == "ok")
    assert result.exit_code == ran.exit_code
