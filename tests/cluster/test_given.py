"""What a container really gets: its arguments, its variables and the tree of its inputs, on the real site with Ceph RGW."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.posting import post
from tests.conftest import DevCluster
from tests.s3.places import MIB, Place
from tests.s3.test_store import crc64

pytestmark = pytest.mark.cluster
Doc = dict[str, Any]
IN = "/input_files"
A, B = f"{IN}/a b$(x)*.txt", f"{IN}/b"
KEYS = ["in/a b$(x)*.txt", "in/b"]
FILES = {"type": "input_files"}
COMMA, SPACE, REPEAT = (
    FILES | {"input_files_format": kind}
    for kind in ("comma_separated_list", "space_separated_list", "repeat_parameter")
)
PATHS = {"type": "manifest_file", "manifest_file_format": "files"}
IDS = {"type": "manifest_file", "manifest_file_format": "data_ids"}
HEADER = {"manifest_file_header": "h\t'\"$(x)"}
NUMBER = {"type": "container_number"}
ODD = {"container_num_prefix": "p `id` ", "container_num_suffix": ".x\\n"}


@dataclass(frozen=True)
class Case:
    """A parameter object or some, as asked for, and what the one container of the job then has."""

    args: list[Any] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    environment: Doc = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    manifest: str | None = None
    script: str | None = None


CASES = {
    "comma": Case([COMMA], [f"{A},{B}"]),
    "comma-flag": Case([COMMA | {"flag": "-i"}], ["-i", f"{A},{B}"]),
    "comma-glued": Case([COMMA | {"flag": "--in="}], [f"--in={A},{B}"]),
    "space": Case([SPACE, NUMBER], [A, B, "0"]),
    "space-flag": Case([SPACE | {"flag": "-i"}, NUMBER | {"flag": "-n"}], ["-i", A, B, "-n", "0"]),
    "space-glued": Case([SPACE | {"flag": "-i="}, NUMBER | ODD], [f"-i={A}", B, "p `id` 0.x\\n"]),
    "repeat-flag": Case([REPEAT | {"flag": "--in"}, NUMBER | ODD | {"flag": "-n"}], ["--in", A, "--in", B, "-n", "p `id` 0.x\\n"]),
    "repeat-glued": Case([REPEAT | {"flag": "--in="}, NUMBER | ODD | {"flag": "-n="}], [f"--in={A}", f"--in={B}", "-n=p `id` 0.x\\n"]),
    "manifest": Case([PATHS], [f"{IN}/manifest-1"], manifest=f"{A}\n{B}\n"),
    "manifest-flag": Case([IDS | {"flag": "-m"} | HEADER], ["-m", f"{IN}/manifest-1"], manifest="h\t'\"$(x)\nid 1, ä\n$(id 2)\n"),
    "manifest-glued": Case([PATHS | {"flag": "-m="} | HEADER], [f"-m={IN}/manifest-1"], manifest=f"h\t'\"$(x)\n{A}\n{B}\n"),
    "variables": Case(
        environment={"LIST": COMMA, "N": NUMBER, "ODD_N": NUMBER | ODD, "PLAIN": "$HOME `id` \\ \" '"},
        variables={"LIST": f"{A},{B}", "N": "0", "ODD_N": "p `id` 0.x\\n", "PLAIN": "$HOME `id` \\ \" '"},
    ),
    "variable-manifest": Case(environment={"M": IDS}, variables={"M": f"{IN}/manifest-1"}, manifest="id 1, ä\n$(id 2)\n"),
    "literals": Case(["-x", "--y=", "$(id) 'q' \"\\", "ä"], ["-x", "--y=", "$(id) 'q' \"\\", "ä"]),
    "script": Case([NUMBER, "a b"], ["script", "0", "a b"], script='exec /bin/given script "$@"'),
    "script-interpreter": Case(["x"], ["-ue", "x"], script='#!/bin/sh -ue\nexec /bin/given "-$-" "$@"'),
}  # fmt: skip


def _submit(site: DevCluster, jobs: list[Doc]) -> list[str]:
    """Submit jobs; returns their ids."""
    base = {"cluster": "dev", "image": site.image("given"), "memory": "50MB", "runtime": 120}
    answers = post(site, [base | job for job in jobs])
    assert all("job_id" in answer for answer in answers), answers
    return [answer["job_id"] for answer in answers]


def _jobs(site: DevCluster, ids: list[str]) -> list[Doc]:
    """Wait for the end of all; return them."""
    site.run("cts", "wait", "--timeout", "240", *ids, check=False)
    show = 'for id; do curl -s --unix-socket /run/cts/cts.sock "http://cts/jobs/$id"; echo; done'
    return [json.loads(line) for line in site.run("sh", "-c", show, "sh", *ids).stdout.splitlines()]


def _given(place: Place, key: str) -> Doc:
    found: Doc = json.loads(place.get(f"out/{key}"))
    return found


def test_every_type_format_and_flag_reaches_the_container_as_the_protocol_says(
    site: DevCluster, place: Place
) -> None:
    for number, key in enumerate(KEYS):
        place.put(key, f"file {number}\n".encode())
    files = [
        {"file": f"{place.bucket}/{key}", "data_id": name}
        for key, name in zip(KEYS, ("id 1, ä", "$(id 2)"), strict=True)
    ]
    jobs: list[Doc] = []
    for name, case in CASES.items():
        asked: Doc = {"input_files": files, "output_dir": f"{place.bucket}/out/{name}"}
        asked["params"] = {"args": case.args, "environment": case.environment}
        jobs.append(asked | ({"script": case.script} if case.script else {}))
    for (name, case), job in zip(CASES.items(), _jobs(site, _submit(site, jobs)), strict=True):
        assert job["state"] == "complete", (name, job["error"])
        seen = _given(place, f"{name}/given.json")
        assert seen["argv"] == case.argv, name
        assert {key: seen["environment"].get(key) for key in case.variables} == case.variables, name
        wanted = {A: "file 0\n", B: "file 1\n"}
        if case.manifest is not None:
            wanted[f"{IN}/manifest-1"] = case.manifest
        if case.script is not None:
            wanted[f"{IN}/cts-script"] = case.script
        assert {path: file["text"] for path, file in seen["files"].items()} == wanted, name
        assert {file["mode"] for file in seen["files"].values()} == {"444"}, name
        shown = [file["data_id"] for file in job["job_input"]["input_files"]]
        assert shown == ["id 1, ä", "$(id 2)"], name


def test_shares_roots_shared_files_dirs_and_own_arguments_of_three_containers(
    site: DevCluster, place: Place
) -> None:
    for key in ("t/run/x/1", "t/run/y/1", "t/dir/2", "t/dir/sub/3", "t/dir/sub/", "t/ref/db"):
        place.put(key, b"" if key.endswith("/") else key.encode())
    top = f"{place.bucket}/t"
    (job,) = _jobs(
        site,
        _submit(
            site,
            [
                {
                    "input_files": [f"{top}/run/y/1", f"{top}/run/x/1"],
                    "input_dirs": [f"{top}/dir"],
                    "input_roots": [f"{top}/run", top + "/dir/"],
                    "shared_inputs": [f"{top}/ref/db"],
                    "num_containers": 3,
                    "split_points": [1, 3],
                    "per_container_args": [["zero"], [], ["two", "$2"]],
                    "output_dir": f"{place.bucket}/out/three",
                    "params": {"declobber": True, "args": [PATHS, NUMBER], "input_mount_point": "/data"},
                    "script": "IN=/data exec given \"$@\"",
                }
            ],
        ),
    )  # fmt: skip
    assert job["state"] == "complete", job["error"]
    shares = [["y/1"], ["x/1", "2"], ["sub/3"]]
    for number, (share, own) in enumerate(zip(shares, (["zero"], [], ["two", "$2"]), strict=True)):
        seen = _given(place, f"three/{number}/given.json")
        assert seen["argv"] == [f"/data/manifest-{number + 1}", str(number), *own]
        paths = {*share, "db", f"manifest-{number + 1}", "cts-script"}
        assert set(seen["files"]) == {f"/data/{path}" for path in paths}
        lines = "".join(f"/data/{path}\n" for path in share)
        assert seen["files"][f"/data/manifest-{number + 1}"]["text"] == lines
        assert seen["files"]["/data/db"]["text"] == "t/ref/db"
    written = sorted(output["file"] for output in job["outputs"])
    assert written == [f"{place.bucket}/out/three/{n}/given.json" for n in range(3)]
    assert [file["file"] for file in job["listed_files"]] == [f"{top}/dir/2", f"{top}/dir/sub/3"]
    assert job["input_file_count"] == 5


def test_two_containers_that_write_one_name_fail_before_either_file_is_lost(
    site: DevCluster, place: Place
) -> None:
    for key in KEYS:
        place.put(key, b"x")
    files = [f"{place.bucket}/{key}" for key in KEYS]
    same = {"input_files": files, "num_containers": 2, "output_dir": f"{place.bucket}/out/same"}
    (job,) = _jobs(site, _submit(site, [same | {"params": {"args": [NUMBER]}}]))
    assert job["state"] == "error"
    assert f"both write {place.bucket}/out/same/given.json" in job["error"]
    assert "set params.declobber" in job["error"]
    (kept,) = job["outputs"]
    assert kept["file"] == f"{place.bucket}/out/same/given.json"
    first = next(c["index"] for c in site.containers(job["id"]) if c["phase"] == "complete")
    assert _given(place, "same/given.json")["argv"] == [str(first)]


def test_checksums_that_are_given_are_held_against_s3_and_against_what_reaches_the_node(
    site: DevCluster, place: Place
) -> None:
    place.put("sum/known", b"known", ChecksumAlgorithm="CRC64NVME")
    place.put("sum/plain", b"plain")
    place.put("sum/empty", b"")
    place.put_parts("sum/parts", [5 * MIB, 6 * MIB, 3])
    parts = b"\x01" * (5 * MIB) + b"\x02" * (6 * MIB) + b"\x03" * 3
    top = f"{place.bucket}/sum"
    right = {"known": b"known", "plain": b"plain", "empty": b"", "parts": parts}
    good = [{"file": f"{top}/{name}", "crc64nvme": crc64(data)} for name, data in right.items()]
    bad = {"file": f"{top}/known", "crc64nvme": crc64(b"other")}
    late = {"file": f"{top}/plain", "crc64nvme": crc64(b"other")}
    wrong = {"cluster": "dev", "image": site.image("given"), "input_files": [bad]}
    (refused,) = post(site, [wrong | {"output_dir": f"{place.bucket}/out/refused"}])
    ids = _submit(
        site,
        [
            {"input_files": good, "output_dir": f"{place.bucket}/out/good", "num_containers": 4, "params": {"declobber": True}},
            {"input_files": [late, good[2]], "output_dir": f"{place.bucket}/out/late", "num_containers": 2},
        ],
    )  # fmt: skip
    error = refused["error"]
    assert error["appcode"] == 30030
    assert f"{top}/known: the request gives the CRC64NVME {crc64(b'other')}, S3 has" in error["message"]  # fmt: skip
    fine, failed = _jobs(site, ids)
    assert fine["state"] == "complete", fine["error"]
    shown = {file["file"]: file["crc64nvme"] for file in fine["job_input"]["input_files"]}
    assert shown == {file["file"]: file["crc64nvme"] for file in good}
    assert failed["state"] == "error"
    assert f"container {failed['id']}_0 failed: input 'plain': its CRC64NVME is wrong" in failed["error"]  # fmt: skip
    assert [c["phase"] for c in site.containers(failed["id"])] == ["error", "complete"]
