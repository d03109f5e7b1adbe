"""A client of the CDM Task Service, as the protocol says and no more: plain HTTPS, a bearer token, no code of ours.

The field tables are written from the protocol: more fields may be added, none left out.
"""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.conftest import DevCluster
from tests.remote import Remote, make

pytestmark = pytest.mark.cluster

STATUS = {"id", "user", "state", "transition_times", "admin_meta"}
PREVIEW = STATUS | {
    "job_input", "image", "input_file_count", "output_file_count", "cpu_hours", "cpu_factor", "max_memory", "error",
    "logpath",
}  # fmt: skip
FIELDS = {
    "root": {"service_name", "version", "git_hash", "server_time", "notes"},
    "whoami": {"user", "roles", "allowed_paths"},
    "site": {
        "cluster", "active", "available", "unavailable_reason", "nodes", "cpus_per_node", "memory_per_node_gb",
        "max_runtime_min", "notes",
    },
    "image": {
        "name", "digest", "tag", "entrypoint", "refdata_id", "default_refdata_mount_point", "registered_by",
        "registered_on",
    },
    "status": STATUS,
    "preview": PREVIEW,
    "job": PREVIEW | {"outputs"},
    "error": {"httpcode", "httpstatus", "time", "request_id", "message", "appcode", "apperror"},
}  # fmt: skip
STATES = {
    "created", "download_submitted", "job_submitting", "job_submitted", "upload_submitting", "upload_submitted",
    "complete", "canceling", "canceled", "error_processing_submitting", "error_processing_submitted", "error",
}  # fmt: skip
WITH_CRC = "sample-data/protocol/with-crc.txt"
READS = ["sample-data/reads/sample-2.txt", "sample-data/reads/sample-3.txt"]


def has(kind: str, document: dict[str, Any]) -> None:
    """Nothing of the protocol's is left out."""
    assert FIELDS[kind] - set(document) == set(), kind


def instant(text: str) -> datetime:
    """A time of ISO 8601 with a zone."""
    found = datetime.fromisoformat(text)
    assert found.tzinfo is not None
    return found


def refused(answer: httpx.Response, status: int, appcode: int) -> dict[str, Any]:
    """The body of the protocol for every 4xx."""
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error.get("appcode")) == (status, appcode), answer.text
    has("error", error)
    assert error["httpcode"] == status
    assert error["request_id"] == answer.headers["X-Request-ID"]
    instant(error["time"])
    return error


@dataclass(frozen=True)
class World:
    """Clients of alice, bob and the admin ada; one without a token; and a job of alice's that has ended."""

    site: DevCluster
    nobody: httpx.Client
    alice: httpx.Client
    bob: httpx.Client
    ada: httpx.Client
    image: str
    job: str


@pytest.fixture(scope="module")
def world(site: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    remote = Remote.of(site, tmp_path_factory.mktemp("tls"))
    tokens = {user: make(site, user) for user in ("alice", "bob", "ada")}
    image = site.image("checksum")
    put = 'echo x > x && aws s3api put-object --checksum-algorithm CRC64NVME --body x --bucket "$1" --key "$2"'
    site.run("sh", "-c", f"cd $(mktemp -d) && {put}", "sh", *WITH_CRC.split("/", 1))
    with (
        remote.http() as nobody,
        remote.http(tokens["alice"][1]) as alice,
        remote.http(tokens["bob"][1]) as bob,
        remote.http(tokens["ada"][1]) as ada,
    ):
        answer = alice.post("/jobs", json=job_of(image, num_containers=2))
        assert answer.status_code == 200, answer.text
        job_id = answer.json()["job_id"]
        assert isinstance(job_id, str)
        assert job_id.isdecimal()
        deadline = time.monotonic() + 240
        while (status := alice.get(f"/jobs/{job_id}/status").json())["state"] not in (
            "complete",
            "error",
            "canceled",
        ):
            has("status", status)
            assert status["state"] in STATES
            assert time.monotonic() < deadline, status
            time.sleep(0.3)
        yield World(site, nobody, alice, bob, ada, image, job_id)
    for user, (public, _) in tokens.items():
        site.run("cts", "token", "revoke", public, user=user)


def job_of(image: str, /, **fields: Any) -> dict[str, Any]:
    """A small job of the protocol; fields override or, as None, take away."""
    job: dict[str, Any] = {
        "cluster": "dev",
        "image": image,
        "input_files": READS,
        "output_dir": f"results/protocol-{uuid.uuid4().hex[:12]}",
        "memory": "50MB",
        "runtime": "PT2M",
        **fields,
    }
    return {name: value for name, value in job.items() if value is not None}


def test_the_general_calls_have_every_field(world: World) -> None:
    root = world.nobody.get("/").json()
    has("root", root)
    assert root["service_name"] == "CDM Task Service"
    instant(root["server_time"])
    me = world.alice.get("/whoami").json()
    has("whoami", me)
    assert (me["user"], me["roles"], me["allowed_paths"]) == ("alice", ["user"], [])
    assert "admin" in world.ada.get("/whoami").json()["roles"]
    sites = world.alice.get("/sites").json()["sites"]
    for site in sites:
        has("site", site)
    (site,) = [site for site in sites if site["cluster"] == "dev"]
    assert (site["cluster"], site["active"], site["available"]) == ("dev", True, True)
    assert world.nobody.get("/health").status_code == 200
    ready = world.nobody.get("/ready").json()
    names = {line["name"] for line in ready["checks"]}
    assert {"database", "s3", "crane"} <= names
    assert any("dev" in name for name in names)


def test_a_job_that_ended_has_every_field_by_every_call(world: World) -> None:
    status = world.alice.get(f"/jobs/{world.job}/status").json()
    assert status["state"] == "complete", status
    times = [instant(step["time"]) for step in status["transition_times"]]
    assert times == sorted(times)
    assert {step["state"] for step in status["transition_times"]} <= STATES
    assert status["transition_times"][0]["state"] == "created"
    job = world.alice.get(f"/jobs/{world.job}").json()
    has("job", job)
    has("image", job["image"])
    assert (job["user"], job["input_file_count"], job["output_file_count"]) == ("alice", 2, 4)
    given = job["job_input"]["input_files"]
    assert [row["file"] for row in given] == READS
    assert all("crc64nvme" in row for row in given)  # null where S3 has none
    assert job["job_input"]["output_dir"].endswith("/")
    for output in job["outputs"]:
        assert output["file"].startswith(job["job_input"]["output_dir"])
        assert len(output["crc64nvme"]) == 12
    codes = world.alice.get(f"/jobs/{world.job}/exit_codes").json()
    assert codes == {"exit_codes": [0, 0]}
    (preview,) = [row for row in world.alice.get("/jobs").json()["jobs"] if row["id"] == world.job]
    has("preview", preview)
    assert "outputs" not in preview
    assert "input_files" not in preview["job_input"]


def test_a_list_of_jobs_is_filtered_by_site_state_and_time(world: World) -> None:
    def listed(**params: Any) -> list[str]:
        answer = world.alice.get("/jobs", params=params)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["jobs"]]

    status = world.alice.get(f"/jobs/{world.job}/status").json()
    updated = status["transition_times"][-1]["time"]
    assert world.job in listed(cluster="dev", state="complete", after=updated)
    assert world.job not in listed(before=updated)
    assert world.job not in listed(state="canceled")
    assert len(listed(limit=1)) == 1
    for limit in (0, 1001):
        refused(world.alice.get("/jobs", params={"limit": limit}), 400, 30010)
    assert world.job not in [row["id"] for row in world.bob.get("/jobs").json()["jobs"]]


def test_logs_of_containers_that_did_well_are_there_as_bytes_by_seek_and_length(
    world: World,
) -> None:
    for number in (0, 1):
        answer = world.alice.get(f"/jobs/{world.job}/log/{number}/stdout")
        assert answer.content == b"checksum: 1 files\n"
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["Content-Disposition"].startswith("attachment")
    part = world.alice.get(f"/jobs/{world.job}/log/0/stdout", params={"seek": 3, "length": 4})
    assert part.content == b"cksu"
    assert world.alice.get(f"/jobs/{world.job}/log/0/stderr").status_code == 200
    refused(world.alice.get(f"/jobs/{world.job}/log/2/stdout"), 404, 40050)


def test_a_finished_job_is_not_canceled_and_says_its_state(world: World) -> None:
    error = refused(world.alice.put(f"/jobs/{world.job}/cancel"), 400, 30300)
    assert "complete" in error["message"]
    assert world.alice.get(f"/jobs/{world.job}/status").json()["state"] == "complete"


def test_a_job_is_canceled_with_204_twice_and_is_then_canceled(world: World) -> None:
    number = world.alice.post(
        "/jobs", json=job_of(world.image, cpus=16, params={"args": ["x"]})
    ).json()["job_id"]
    for _ in range(2):
        assert world.alice.put(f"/jobs/{number}/cancel").status_code == 204
    world.site.until(
        lambda: world.alice.get(f"/jobs/{number}/status").json()["state"] == "canceled"
    )
    states = [
        step["state"]
        for step in world.alice.get(f"/jobs/{number}/status").json()["transition_times"]
    ]
    assert states[-2:] == ["canceling", "canceled"]


def test_what_is_not_yours_is_not_there(world: World) -> None:
    for path in ("", "/status", "/exit_codes", "/log/0/stdout"):
        refused(world.bob.get(f"/jobs/{world.job}{path}"), 404, 40040)
    refused(world.bob.put(f"/jobs/{world.job}/cancel"), 404, 40040)
    refused(world.alice.get("/jobs/999999999999"), 404, 40040)


def test_images_are_found_by_tag_and_digest(world: World) -> None:
    rows = world.alice.get("/images").json()["data"]
    for row in rows:
        has("image", row)
    name, _, tag = world.image.rpartition(":")
    (mine,) = [row for row in rows if row["name"] == name and row["tag"] == tag]
    assert mine["entrypoint"] == ["/bin/checksum"]
    assert mine["registered_by"] == "ada"
    for form in (world.image, f"{name}@{mine['digest']}", f"{world.image}@{mine['digest']}"):
        assert world.alice.get(f"/images/{form}").json()["digest"] == mine["digest"]
    refused(world.alice.get(f"/images/{name}:none"), 404, 40030)


def test_an_md5_digest_and_other_names_that_are_none_are_30040(world: World) -> None:
    for name in ("test/x@md5:d41d8cd98f00b204e9800998ecf8427e", "test/UPPER:1", "x y:1", "x:1:2"):
        refused(world.alice.get(f"/images/{name}"), 400, 30040)
        refused(world.ada.post(f"/admin/images/{name}"), 400, 30040)


def test_admins_see_any_job_with_its_containers(world: World) -> None:
    assert world.job in [
        row["id"] for row in world.ada.get("/admin/jobs", params={"user": "alice"}).json()["jobs"]
    ]
    job = world.ada.get(f"/admin/jobs/{world.job}").json()
    has("job", job)
    codes = world.ada.get(f"/admin/jobs/{world.job}/exit_codes").json()
    assert codes == {"exit_codes": [0, 0]}
    rows = world.ada.get(f"/admin/jobs/{world.job}/container").json()["containers"]
    assert len(rows) == 2
    one = world.ada.get(f"/admin/jobs/{world.job}/container/1").json()
    assert one == rows[1]
    assert {"state", "times", "exit_code", "outputs", "error"} <= set(one)
    refused(world.ada.get(f"/admin/jobs/{world.job}/container/2"), 404, 40050)
    refused(world.ada.put(f"/admin/jobs/{world.job}/cancel"), 400, 30300)
    for path in (f"/admin/jobs/{world.job}", "/admin/jobs"):
        refused(world.alice.get(path), 403, 20000)


def test_every_refusal_has_the_protocols_body_whatever_raised_it(world: World) -> None:
    refused(world.nobody.get("/jobs"), 401, 10010)
    basic = {"Authorization": "Basic YTpi"}
    refused(world.nobody.get("/jobs", headers=basic), 401, 10030)
    refused(world.alice.get("/nothing/here"), 404, 40000)
    refused(world.alice.delete("/whoami"), 405, 100000)
    refused(world.alice.get("/jobs/none"), 404, 40040)
    for body in (b"{", b"\xff", b"[]", b"null", b""):
        error = refused(world.alice.post("/jobs", content=body), 400, 30010)
        assert error["request_validation_detail"]
    large = world.alice.post("/tokens", content=b" " * (1 << 20))
    refused(large, 413, 30001)


RULES: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown field": ({"cpu": 1}, 30010, "cpu"),
    "an unknown site": ({"cluster": "mars"}, 30001, "cluster"),
    "no site": ({"cluster": None}, 30010, "cluster"),
    "no image": ({"image": None}, 30010, "image"),
    "an image of over 1000 characters": ({"image": "x" * 1001}, 30010, "image"),
    "no input files": ({"input_files": []}, 30010, "input_files"),
    "an input twice": ({"input_files": [READS[0], READS[0]]}, 30010, READS[0]),
    "two inputs at one place": ({"input_files": ["d-d/a/x", "d-d/b/x"]}, 30001, "d-d/b/x"),
    "text and objects mixed": ({"input_files": [READS[0], {"file": READS[1]}]}, 30010, "input_files"),
    "a data id for some": (
        {"input_files": [{"file": READS[0], "data_id": "1"}, {"file": READS[1]}]}, 30010, "data_id",
    ),
    "a checksum that is none": (
        {"input_files": [{"file": READS[0], "crc64nvme": "x"}]}, 30010, "crc64nvme",
    ),
    "a checksum that S3 has not": (
        {"input_files": [{"file": WITH_CRC, "crc64nvme": "AAAAAAAAAAA="}]}, 30030, WITH_CRC,
    ),
    "a .. segment": ({"input_files": ["sample-data/a/../b"]}, 30020, ".."),
    "a . segment": ({"input_files": ["sample-data/./b"]}, 30020, '"."'),
    "a leading slash": ({"input_files": ["/sample-data/b"]}, 30020, "slash"),
    "two slashes": ({"input_files": ["sample-data/a//b"]}, 30020, "//"),
    "a quote in a key": ({"input_files": ["sample-data/it's"]}, 30020, "'"),
    "a semicolon in a key": ({"input_files": ["sample-data/a;b"]}, 30020, ";"),
    "a control character in a key": ({"input_files": ["sample-data/a\nb"]}, 30020, "U+000A"),
    "a key of over 1024 bytes": ({"input_files": ["sample-data/" + "ü" * 513]}, 30020, "1024"),
    "a bucket in capitals": ({"input_files": ["Sample-data/x"]}, 30020, "bucket"),
    "a bucket with a dot": ({"input_files": ["sample.data/x"]}, 30020, "bucket"),
    "a bucket of two letters": ({"input_files": ["ab/x"]}, 30020, "bucket"),
    "a bucket with a dash at its end": ({"input_files": ["sample-/x"]}, 30020, "bucket"),
    "no such key": ({"input_files": ["sample-data/no-such-key"]}, 40010, "no-such-key"),
    "no such bucket": ({"input_files": ["no-such-bucket-1/x"]}, 40020, "no-such-bucket-1"),
    "a key that may not be read": ({"input_files": ["private-data/secret.txt"]}, 20010, "private-data"),
    "no output": ({"output_dir": None}, 30010, "output_dir"),
    "an output bucket that is not there": ({"output_dir": "no-such-bucket-1/x"}, 40020, "no-such-bucket-1"),
    "an output bucket that may not be written": ({"output_dir": "private-data/x"}, 20020, "private-data"),
    "no containers": ({"num_containers": 0}, 30010, "num_containers"),
    "over 1000 containers": ({"num_containers": 1001}, 30010, "num_containers"),
    "more containers than files": ({"num_containers": 3}, 30010, "num_containers"),
    "no cpus": ({"cpus": 0}, 30010, "cpus"),
    "more cpus than a node has": ({"cpus": 17}, 30001, "cpus"),
    "under 1 MB of memory": ({"memory": 999_999}, 30010, "memory"),
    "more memory than a node has": ({"memory": "16GB"}, 30001, "memory"),
    "memory that is no size": ({"memory": "lots"}, 30010, "memory"),
    "no run time": ({"runtime": 0}, 30010, "runtime"),
    "a run time over the site's": ({"runtime": "P3D"}, 30001, "runtime"),
    "a run time that is none": ({"runtime": "soon"}, 30010, "runtime"),
    "over 100 CPU hours": ({"num_containers": 2, "cpus": 16, "runtime": "PT3H8M"}, 30001, "hours"),
    "the root as a mount point": ({"params": {"input_mount_point": "/"}}, 30010, "input_mount_point"),
    "/.. as a mount point": ({"params": {"input_mount_point": "/.."}}, 30010, "input_mount_point"),
    "/a/.. as a mount point": ({"params": {"output_mount_point": "/a/.."}}, 30010, "output_mount_point"),
    "a relative mount point": ({"params": {"input_mount_point": "in"}}, 30010, "input_mount_point"),
    "odd letters in a mount point": ({"params": {"input_mount_point": "/a b"}}, 30010, "input_mount_point"),
    "a long mount point": ({"params": {"input_mount_point": "/" + "a" * 1024}}, 30010, "input_mount_point"),
    "a small letter in a variable": ({"params": {"environment": {"a": "x"}}}, 30010, "environment"),
    "a control character in an argument": ({"params": {"args": ["a\nb"]}}, 30010, "args"),
    "an argument of over 1024 characters": ({"params": {"args": ["x" * 1025]}}, 30010, "args"),
    "a parameter of no known type": ({"params": {"args": [{"type": "x"}]}}, 30010, "args"),
    "files without a format": ({"params": {"args": [{"type": "input_files"}]}}, 30010, "input_files_format"),
    "a manifest without a format": ({"params": {"args": [{"type": "manifest_file"}]}}, 30010, "manifest_file_format"),
    "a repeated parameter without a flag": (
        {"params": {"args": [{"type": "input_files", "input_files_format": "repeat_parameter"}]}}, 30010, "flag",
    ),
    "a repeated parameter as a variable": (
        {"params": {"environment": {"A": {
            "type": "input_files", "input_files_format": "repeat_parameter", "input_files_flag": "-i"}}}}, 30010, "A",
    ),
    "files with spaces between as a variable": (
        {"params": {"environment": {"A": {"type": "input_files", "input_files_format": "space_separated_list"}}}},
        30010, "A",
    ),
    "two parameters of files": (
        {"params": {"args": [{"type": "input_files", "input_files_format": "comma_separated_list"}] * 2}}, 30010, "args",
    ),
    "data ids without any": (
        {"params": {"args": [{"type": "manifest_file", "manifest_file_format": "data_ids"}]}}, 30010, "data",
    ),
    "a header of over 1000 characters": (
        {"params": {"args": [{
            "type": "manifest_file", "manifest_file_format": "files", "manifest_file_header": "x" * 1001}]}},
        30010, "manifest_file_header",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_job_that_breaks_a_rule_is_refused_with_its_code_and_place(
    world: World, rule: str
) -> None:
    fields, appcode, named = RULES[rule]
    answer = world.alice.post("/jobs", json=job_of(world.image, **fields))
    status = {20010: 403, 20020: 403, 40010: 404, 40020: 404}.get(appcode, 400)
    error = refused(answer, status, appcode)
    said = error["message"] + json.dumps(error.get("request_validation_detail"), ensure_ascii=False)
    assert named in said
    if appcode == 30010:
        for detail in error["request_validation_detail"]:
            assert set(detail) >= {"loc", "msg", "type"}


def test_just_what_the_rules_allow_is_taken(world: World) -> None:
    """The bounds themselves are inside; the jobs are canceled at once."""
    for fields in (
        {"num_containers": 2, "cpus": 10, "runtime": "PT5H"},  # 100 CPU hours, equality allowed
        {"memory": 1_000_000},
        {"runtime": 1},
        {"runtime": "1:30:00"},
        {"output_dir": " results/protocol-space"},
        {"params": {"input_mount_point": "/" + "a" * 1023}},
    ):
        answer = world.alice.post("/jobs", json=job_of(world.image, **fields))
        assert answer.status_code == 200, (fields, answer.text)
        assert world.alice.put(f"/jobs/{answer.json()['job_id']}/cancel").status_code == 204


# Objects as other tools write them: no CRC64NVME, an ETag of one part (…-1), nothing in it.
ODD_INPUTS = """
set -eu
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required
cd "$(mktemp -d)"
echo plain > plain
: > empty
aws s3api put-object --bucket sample-data --key "$1/plain" --body plain > /dev/null
aws s3api put-object --bucket sample-data --key "$1/empty" --body empty > /dev/null
upload=$(aws s3api create-multipart-upload --bucket sample-data --key "$1/one-part" --query UploadId --output text)
etag=$(aws s3api upload-part --bucket sample-data --key "$1/one-part" --part-number 1 --body plain --upload-id "$upload" --query ETag --output text)
aws s3api complete-multipart-upload --bucket sample-data --key "$1/one-part" --upload-id "$upload" --multipart-upload "Parts=[{ETag=$etag,PartNumber=1}]" > /dev/null
for name in plain empty one-part; do aws s3api head-object --bucket sample-data --key "$1/$name" --checksum-mode ENABLED; done
"""


def test_objects_without_a_crc_of_one_part_and_of_no_bytes_are_inputs_and_outputs(
    world: World,
) -> None:
    name = f"odd-{uuid.uuid4().hex[:8]}"
    said = world.site.run("bash", "-s", name, text=ODD_INPUTS).stdout
    decoder, heads, at = json.JSONDecoder(), [], 0
    while at < len(said.rstrip()):
        head, at = decoder.raw_decode(said, at)
        heads.append(head)
        at += 1
    assert not any("ChecksumCRC64NVME" in head for head in heads)
    assert [head["ETag"].strip('"').endswith("-1") for head in heads] == [False, False, True]
    job = world.site.finish(
        world.site.submit(
            image=world.image,
            input_files=[f"sample-data/{name}/{n}" for n in ("plain", "empty", "one-part")],
        )
    )
    assert job["state"] == "complete", job["error"]
    sizes = world.site.objects(job["job_input"]["output_dir"])
    assert (sizes["plain"], sizes["empty"], sizes["one-part"]) == (6, 0, 6)
    assert all(output["crc64nvme"] for output in job["outputs"])


def test_outputs_whose_names_have_quotes_semicolons_and_spaces_are_all_there(world: World) -> None:
    names = ["it's.txt", 'a "b".txt', "x;y", "$(touch z)", "a b", "ü", "%41?&#=+"]
    script = "cd /output_files\n" + "".join(f"echo x > {shlex.quote(name)}\n" for name in names)
    job = world.site.finish(world.site.submit(image=world.image, script=script))
    assert job["state"] == "complete", job["error"]
    prefix = job["job_input"]["output_dir"]
    assert {row["file"].removeprefix(prefix) for row in job["outputs"]} == set(names)
    assert set(world.site.objects(prefix)) == set(names)


def test_a_container_has_the_cpus_that_were_asked_for_and_no_more(world: World) -> None:
    count = "cat /proc/self/status | sed -n 's/^Cpus_allowed_list:[[:space:]]*//p'"
    script = f"{count}; echo x > /output_files/x"
    job = world.site.finish(world.site.submit(image=world.image, script=script, cpus=2))
    assert job["state"] == "complete", job["error"]
    allowed = world.alice.get(f"/jobs/{job['id']}/log/0/stdout").text.strip()
    ends = [(part.split("-")[0], part.split("-")[-1]) for part in allowed.split(",")]
    assert sum(int(last) - int(first) + 1 for first, last in ends) == 2, allowed


def test_what_a_job_did_not_say_is_shown_in_it(world: World) -> None:
    """The defaults are the protocol's, and whoever looks sees them."""
    job = job_of(world.image, memory=None, runtime=None)
    number = world.alice.post("/jobs", json=job).json()["job_id"]
    assert world.alice.put(f"/jobs/{number}/cancel").status_code == 204
    given = world.alice.get(f"/jobs/{number}").json()["job_input"]
    assert (given["cpus"], given["num_containers"]) == (1, 1)
    assert given["memory"] == 10_000_000
    assert given["runtime"] in (60, "PT60S", "PT1M")
    assert given["params"]["input_mount_point"] == "/input_files"
    assert given["params"]["output_mount_point"] == "/output_files"
