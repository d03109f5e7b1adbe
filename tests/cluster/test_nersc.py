"""Batch scripts in NERSC's manner, submitted as they are, on the real site."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
EVIL = "a b$(touch /tmp/evil);\"q\" '*' `id`"

# The pattern of NERSC's public examples: a QOS, a constraint, nodes, tasks and CPUs, an account, licenses of file systems, an
# image as Shifter has it, an array, files for the log, srun and shifter before the program; #SBATCH is #CTS, and what is in S3 has lines of its own.
SCRIPT = """\
#!/bin/bash
#CTS --image=docker:{image}
#CTS --qos=debug
#CTS --constraint=cpu
#CTS --time=00:05:00
#CTS --nodes=1
#CTS --ntasks-per-node=2
#CTS --cpus-per-task=2
#CTS --account=lab
#CTS --licenses=matlab
#CTS --job-name=counts          # what squeue shows
#CTS --output=%x-%A_%a.out
#CTS --error=%x-%A_%a.err
#CTS --array=2-4:2%1
#CTS --export=GREETING="good day"
#CTS --input='sample-data/reads/sample-[2-4].txt'
#CTS --results={results}

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
export OMP_PLACES=threads

name=sample-$SLURM_ARRAY_TASK_ID.txt
echo "$GREETING: task $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_JOB_ID, $SLURM_NTASKS tasks of $OMP_NUM_THREADS threads, for $1"
echo "$SLURM_JOB_NAME $SLURM_JOB_ACCOUNT" >&2
[[ -e /input_files/sample-3.txt ]] || exit 3
srun -n 1 -c $OMP_NUM_THREADS --cpu-bind=cores shifter md5sum < "/input_files/$name" > "/output_files/$name.md5"
"""


def _home(site: DevCluster) -> str:
    return site.run("mktemp", "-d").stdout.strip()


def test_a_script_of_nersc_with_cts_in_place_of_sbatch_completes_and_its_outputs_are_in_s3(
    site: DevCluster,
) -> None:
    home, results = _home(site), f"results/nersc-{uuid.uuid4().hex}"
    text = SCRIPT.format(image=site.image("shell"), results=results)
    site.run("tee", f"{home}/counts.sh", text=text)
    here = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", home)
    done = site.run(*here, "ctsbatch", "--wait", "counts.sh", EVIL, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Submitted batch job ")
    job = site.job(done.stdout.split()[-1])
    assert job["state"] == "complete"
    assert set(site.objects(f"{results}/")) == {"sample-2.txt.md5", "sample-4.txt.md5"}
    for number in (2, 4):
        name = f"counts-{job['id']}_{number}"
        said = site.run("cat", f"{home}/{name}.out").stdout
        assert said == f"good day: task {number} of {job['id']}, 2 tasks of 2 threads, for {EVIL}\n"
        assert site.run("cat", f"{home}/{name}.err").stdout == "counts lab\n"
        mine = site.run("aws", "s3", "cp", f"s3://{results}/sample-{number}.txt.md5", "-").stdout
        assert mine == site.run(*here, "sh", "-c", f"aws s3 cp s3://sample-data/reads/sample-{number}.txt - | md5sum").stdout  # fmt: skip
    script = site.run("cts", "script", job["id"]).stdout
    lines = script.splitlines()
    assert "#SBATCH --array=0-1%1" in lines
    for line in ("--qos=debug", "--constraint=cpu", "--account=lab", "--licenses=matlab"):
        assert f"#SBATCH {line}" in lines
    assert "#SBATCH --cpus-per-task=4" in lines
    # Of the body, and of what else was the user's text, nothing is in what a shell reads.
    for word in ("counts", "GREETING", "good day", "OMP_", "evil", "md5sum", "#CTS"):
        assert word not in script


def test_test_only_submits_nothing_and_a_wrapped_command_runs_inside_the_image(
    site: DevCluster,
) -> None:
    results = f"results/nersc-{uuid.uuid4().hex}"
    name = uuid.uuid4().hex  # others submit jobs meanwhile
    common = ("--image", site.image("shell"), "--input", "sample-data/reads/sample-2.txt")
    argv = (
        "ctsbatch",
        *common,
        "-J",
        name,
        "--output",
        results,
        "-t",
        "5",
        "--wrap",
        "echo $(( 6 * 7 )) > /output_files/answer",
    )
    of_that_name = ("cts", "jobs", "--json", "--name", name)
    shown = site.run(*argv[:1], "--test-only", *argv[1:]).stdout
    assert "nothing was submitted" in shown
    assert "/bin/sh /input_files/cts-script" in shown
    assert json.loads(site.run(*of_that_name).stdout) == []
    site.run(*argv[:1], "--parsable", "-W", *argv[1:])
    assert len(json.loads(site.run(*of_that_name).stdout)) == 1
    assert site.run("aws", "s3", "cp", f"s3://{results}/answer", "-").stdout == "42\n"


def test_a_script_that_the_gateway_cannot_run_so_is_refused_by_its_line_or_field(
    site: DevCluster,
) -> None:
    text = SCRIPT.format(image=site.image("shell"), results="results/nersc")
    for old, new, said in (
        ("--qos=debug", "--qos=premium", "qos: dev does not offer 'premium'"),
        ("--constraint=cpu", "--constraint=knl", "constraint: dev does not offer 'knl'"),
        ("--licenses=matlab", "--licenses=scratch", "licenses: dev does not offer 'scratch'"),
        ("--qos=debug", "--begin=now", "-: line 3: --begin is sbatch's"),
        ("sample-[2-4]", "none-*", "input_globs[0]: no object matches"),
    ):
        done = site.run("ctsbatch", "-Q", "-", text=text.replace(old, new), check=False)
        assert (done.returncode in (2, 3), done.stdout) == (True, ""), done
        assert said in done.stderr


def test_the_queue_shows_it_as_squeue_does_and_it_is_canceled_by_what_it_is(
    site: DevCluster,
) -> None:
    name = f"nap-{uuid.uuid4().hex[:8]}"
    given = (
        "--image",
        site.image("shell"),
        "--input",
        "sample-data/reads/sample-2.txt",
        "-J",
        name,
    )
    argv = ("ctsbatch", "--parsable", *given, "--results", "results/nersc", "-t", "5", "-c", "2", "-q", "debug", "-A", "lab", "-a", "3-7:2")  # fmt: skip
    job = site.run(*argv, "--wrap", "sleep 120").stdout.strip()
    waits = site.run(*argv, "-d", f"afterany:{job}", "--wrap", "true").stdout.strip()
    queue = ("ctsqueue", "-h", "-n", name, "-S", "i")
    running = (*queue, "-r", "-t", "run", "-o", "%i %K %T")
    site.until(lambda: len(site.run(*running).stdout.splitlines()) == 3)
    assert site.run(*running).stdout.splitlines() == [f"{job}_{n} {3 + 2 * n} RUNNING" for n in range(3)]  # fmt: skip
    text = site.run(*queue, "-o", "%i %P %q %a %t %l %C %D %E").stdout.splitlines()
    assert text == [
        f"{job} regular debug lab R 00:05:00 6 3 (null)",
        f"{waits} regular debug lab PD 00:05:00 6 3 afterany:{job}",
    ]
    nodes = site.run(*queue, "-r", "-t", "R", "-o", "%N").stdout.split()
    slurm = site.run(
        "squeue", "-h", "-r", "-o", "%N", "-j", site.job(job)["slurm_jobs"][0], user="root"
    )
    assert sorted(nodes) == sorted(slurm.stdout.split())
    site.run("ctscancel", "-n", name, "-q", "debug", "-t", "PENDING")
    assert site.finish(waits)["state"] == "canceled"
    site.run("ctscancel", "-i", "--name", name, text="y\n")
    assert site.finish(job)["state"] == "canceled"
    assert site.run(*queue).stdout == ""
