"""What users asked for, on the real site: labels and pages, sharing, submissions that are sent twice, explained waits."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
PYTHON = "/opt/cts/bin/python"

# Hands requests on to the gateway and cuts the line where an answer should come, as often as it is told.
LOST = """
import json, os, socket, sys, threading
from gateway.client import Client

job, key, lost = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
path = f"/tmp/lost-{os.getpid()}.sock"
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
answers = []

def serve():
    while True:
        line, _ = server.accept()
        with line, socket.socket(socket.AF_UNIX) as up:
            up.connect("/run/cts/cts.sock")
            asked = b""
            while b"\\r\\n\\r\\n" not in asked:
                asked += line.recv(65536)
            head, _, body = asked.partition(b"\\r\\n\\r\\n")
            length = int(next(h.split(b":")[1] for h in head.split(b"\\r\\n") if h.lower().startswith(b"content-length")))
            while len(body) < length:
                body += line.recv(65536)
            up.sendall(head.replace(b"keep-alive", b"close") + b"\\r\\n\\r\\n" + body)
            answer = b""
            while piece := up.recv(65536):
                answer += piece
            answers.append(json.loads(answer.partition(b"\\r\\n\\r\\n")[2])["job_id"])
            if len(answers) > lost:
                line.sendall(answer)

threading.Thread(target=serve, daemon=True).start()
found = Client(path).submit(job, idempotency_key=key or None)
os.unlink(path)
print(json.dumps({"found": found, "answers": answers}))
"""


def _get(site: DevCluster, path: str, user: str = "alice", **query: Any) -> dict[str, Any]:
    url = f"http://cts{path}?{urlencode(query, doseq=True)}"
    text = site.run("curl", "-s", "--unix-socket", "/run/cts/cts.sock", url, user=user).stdout
    found: dict[str, Any] = json.loads(text)
    return found


def _document(site: DevCluster, **fields: Any) -> dict[str, Any]:
    return {
        "cluster": "dev",
        "image": site.image("checksum"),
        "input_files": ["sample-data/reads/sample-2.txt"],
        "output_dir": f"results/test-{uuid.uuid4().hex}",
        "memory": "50MB",
        **fields,
    }


def test_jobs_are_found_by_label_name_and_image_page_by_page(site: DevCluster) -> None:
    mark = uuid.uuid4().hex
    image = site.image("checksum")
    jobs = [
        site.submit(image=image, labels={"mark": mark, "n": str(n)}, name=f"name-{mark}")
        for n in range(3)
    ]
    seen, cursor = [], "start"
    while cursor:
        page = _get(site, "/jobs", label=f"mark={mark}", limit=1, cursor=cursor)
        seen += [job["id"] for job in page["jobs"]]
        if len(seen) == 1:  # between two pages a new one comes
            late = site.submit(image=image, labels={"mark": mark, "n": "9"})
        cursor = page["next"]
    assert seen == jobs[::-1]

    def listed(*options: str, program: tuple[str, ...] = ("cts", "jobs")) -> set[str]:
        text = site.run(*program, *options, "--json").stdout
        return {job["id"] for job in json.loads(text)}

    assert listed("--label", f"mark={mark}") == {*jobs, late}
    assert listed("--label", f"mark={mark}", "--label", "n=1") == {jobs[1]}
    assert listed("--label", "mark", "--name", f"name-{mark}") == set(jobs)
    assert listed("--name", f"name-{mark}", "--image", image) == set(jobs)
    assert listed("--name", f"name-{mark}", "--image", image.replace(":1.0", ":2.0")) == set()
    queue = ("ctsqueue", "-t", "all")
    assert listed("--label", f"mark={mark}", "--label", "n=2", program=queue) == {jobs[2]}
    assert site.finish(late)["job_input"]["labels"] == {"mark": mark, "n": "9"}


@pytest.mark.parametrize("key", ["", "a key of my own"], ids=["random key", "own key"])
def test_a_submission_whose_answer_was_lost_after_it_was_stored_makes_one_job(
    site: DevCluster, key: str
) -> None:
    mark = uuid.uuid4().hex
    key = key and f"{key} {mark}"
    job = _document(site, labels={"mark": mark})
    text = site.run(PYTHON, "-c", LOST, json.dumps(job), key, "2").stdout
    said = json.loads(text)
    assert said["answers"] == [said["found"]] * 3
    there = _get(site, "/jobs", label=f"mark={mark}")["jobs"]
    assert [each["id"] for each in there] == [said["found"]]
    if key:
        again = ("cts", "submit", "-", "--idempotency-key", key)
        assert site.run(*again, text=json.dumps(job)).stdout.strip() == said["found"]
        other = site.run(*again, text=json.dumps(job | {"cpus": 2}), check=False)
        assert other.returncode == 2
        assert "30001" in other.stderr
        assert site.run(*again, user="bob", text=json.dumps(job)).stdout.strip() != said["found"]


@pytest.fixture(scope="module")
def sleeper(site: DevCluster) -> Iterator[str]:
    """A job of alice's that runs, which she shares with the group bob."""
    job_id = site.submit(
        image=site.image("sleep"),
        params={"args": ["300"]},
        runtime=600,
        share_with={"groups": ["bob"]},
    )
    site.until(lambda: site.job(job_id)["phase"] == "run")
    yield job_id
    site.run("cts", "cancel", job_id)


def test_a_shared_job_is_read_by_those_it_is_shared_with_and_canceled_by_its_owner(
    site: DevCluster, sleeper: str
) -> None:
    job_id = sleeper
    assert site.job(job_id, user="bob")["shared_with"] == {"users": [], "groups": ["bob"]}
    assert "sleeping" in site.run("cts", "logs", job_id, user="bob").stdout
    assert site.run("cts", "script", job_id, user="bob").stdout.startswith("#!/bin/sh")
    assert len(_get(site, f"/jobs/{job_id}/exit_codes", user="bob")["exit_codes"]) == 1
    assert job_id in site.run("ctsacct", "-n", "-j", job_id, "-o", "JobID", user="bob").stdout
    for command in (("cancel", job_id), ("share", job_id, "--nobody")):
        done = site.run("cts", *command, user="bob", check=False)
        assert (done.returncode, "20000" in done.stderr) == (3, True), done.stderr

    def listed(*options: str) -> set[str]:
        text = site.run("cts", "jobs", *options, "--json", user="bob").stdout
        return {job["id"] for job in json.loads(text)}

    assert job_id not in listed()
    assert job_id in listed("--shared")
    site.run("cts", "share", job_id, "--user", "nobody-here")
    hidden = site.run("cts", "show", job_id, user="bob", check=False)
    assert (hidden.returncode, "40040" in hidden.stderr) == (3, True)
    assert job_id not in listed("--shared")


def test_a_job_that_waits_in_slurm_says_why_its_place_and_when_it_may_start(
    site: DevCluster, sleeper: str
) -> None:
    job_id = sleeper
    (slurm,) = site.job(job_id)["slurm_jobs"]
    site.run("scontrol", "requeuehold", slurm, user="root")

    def says(words: str) -> bool:
        return words in (site.job(job_id)["reason"] or "")

    site.until(lambda: says("is held until an admin of Slurm releases it"))
    assert site.job(job_id)["queue_position"] >= 1
    site.run("scontrol", "release", slurm, user="root")
    site.run("scontrol", "update", f"jobid={slurm}", "starttime=now+3hours", user="root")
    site.until(lambda: says("waits for the time at which it may begin (BeginTime)"))
    status = _get(site, f"/jobs/{job_id}/status")
    assert status["expected_start"] is not None
    assert status["queue_position"] >= 1
    shown = site.run("cts", "show", job_id).stdout
    assert "in the queue" in shown
    assert "Expected  " in shown
    assert "(BeginTime)); " in site.run("ctsqueue", "-j", job_id).stdout


def test_jobs_wait_for_others_and_end_when_that_is_vain(site: DevCluster) -> None:
    bad = site.submit(image=site.image("sleep"), params={"args": ["300"]})
    good = _document(site)

    def submit(*options: str) -> str:
        return site.run("cts", "submit", "-", *options, text=json.dumps(good)).stdout.strip()

    first = submit("-d", f"afterany:{bad}")
    second = submit("-d", f"afterok:{first},afterany:{bad}")
    vain = submit("-d", f"afterok:{bad}")
    never = submit("-d", f"afterok:{vain}")
    held = submit("-d", f"afterok:{never}")
    site.until(lambda: site.job(first)["reason"] == f"waits for job {bad} to end")
    site.run("cts", "cancel", held, bad)
    assert site.finish(second)["state"] == "complete"
    begun = {t["phase"]: t["time"] for t in site.job(second)["transition_times"]}
    ended = {t["phase"]: t["time"] for t in site.job(first)["transition_times"]}
    assert ended["complete"] < begun["submitting"]
    job = site.finish(never)
    assert (job["state"], job["slurm_jobs"]) == ("error", [])
    assert job["error"].startswith(f"The job was not run: job {vain} had to complete first")
    assert f"job {bad} had to complete first, and its state is canceled" in site.job(vain)["error"]
    assert site.job(held)["state"] == "canceled"
    for other, code in ((bad, "30300"), ("999999", "40040")):
        done = site.run(
            "cts", "submit", "-", "-d", f"afterok:{other}", text=json.dumps(good), check=False
        )
        assert code in done.stderr


def test_a_job_reads_what_a_job_that_it_waits_for_writes(site: DevCluster) -> None:
    image = site.image("checksum")
    where = [f"results/pipeline-{uuid.uuid4().hex}" for _ in range(2)]
    first = site.submit(
        image=site.image("sleep"),
        input_files=[f"sample-data/reads/sample-{n}.txt" for n in (2, 3, 4)],
        output_dir=where[0],
        params={"args": ["6"]},
    )
    after: dict[str, Any] = {"image": image, "depends_on": [{"job_id": first}]}
    second = site.submit(
        **after,
        input_files=[f"{where[0]}/sample-{n}.txt" for n in (2, 3)],
        num_containers=2,
        output_dir=where[1],
    )
    third = site.submit(
        image=image,
        depends_on=[{"job_id": second}],
        input_files=None,
        input_dirs=[where[1]],
    )
    typo = site.submit(**after, input_files=[f"{where[0]}/nothing.txt"])
    unwanted = site.submit(**after, input_files=None, input_dirs=[where[0]])
    assert site.job(typo)["input_file_count"] == 0
    site.run("cts", "cancel", unwanted)
    assert site.finish(unwanted)["state"] == "canceled"
    job = site.finish(second)
    assert job["state"] == "complete", job["error"]
    assert (job["input_file_count"], len(site.containers(second))) == (2, 2)
    assert site.objects(f"{where[1]}/")["sample-3.txt"] == 1000
    last = site.finish(third)
    assert last["state"] == "complete", last["error"]
    assert last["input_file_count"] == 4  # and the sums of each container
    wrong = site.finish(typo)
    assert (wrong["state"], wrong["slurm_jobs"]) == ("error", [])
    assert wrong["error"].startswith("The job was not run: ")
    assert f"{where[0]}/nothing.txt" in wrong["error"]


def test_containers_that_were_done_before_are_not_run_again_while_their_outputs_are_there(
    site: DevCluster,
) -> None:
    fields: dict[str, Any] = {
        "image": site.image("given"),
        "input_files": [f"sample-data/reads/sample-{n}.txt" for n in (2, 3, 4)],
        "output_dir": f"results/skip-{uuid.uuid4().hex}",
        "num_containers": 3,
        "params": {"declobber": True},
    }
    first = site.finish(site.submit(**fields))
    assert first["state"] == "complete", first["error"]
    again = site.finish(site.submit(**fields, skip_existing=True, cpus=2))
    assert (again["state"], again["slurm_jobs"]) == ("complete", [])
    assert again["outputs"] == first["outputs"]
    parts = site.containers(again["id"])
    assert [c["reason"] for c in parts] == [f"skipped: done by {first['id']}_{n}" for n in range(3)]
    assert [c["exit_code"] for c in parts] == [0, 0, 0]
    gone = parts[1]["outputs"][0]["file"]
    site.run("aws", "s3", "rm", f"s3://{gone}")
    third = site.finish(site.submit(**fields, skip_existing=True))
    assert third["state"] == "complete", third["error"]
    assert len(third["outputs"]) == len(first["outputs"])
    parts = site.containers(third["id"])
    assert [c["reason"] is None for c in parts] == [False, True, False]
    assert [c["slurm_job_id"] is None for c in parts] == [True, False, True]
    assert gone in [output["file"] for output in parts[1]["outputs"]]
    shown = site.run("cts", "show", third["id"]).stdout
    assert f"skipped: done by {again['id']}_0" in shown
