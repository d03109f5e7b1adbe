"""Objects and outputs of every kind, through whole jobs on RGW: each arrives byte for byte, or the job says which one cannot."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.s3.places import MIB, Place

pytestmark = pytest.mark.cluster
PART_SIZE = 64 * MIB  # of the site's store
LONG = "/".join(["ü" * 100, *("d" * 199 for _ in range(4)), "f" * 20])
NAMES = [
    "plain.txt",
    "Ünïcödé-日本語-🧬.txt",
    "a b  c .txt",
    "100%/50%25+1.txt",
    "what?#frag&x=1,y.txt",
    "-rf",
    '"q`$(touch x)`\\n*~!{}[]<>|^,:@.txt',
    "...",
    ".hidden/..dots",
    LONG,
]
# Each is one output, or one rule that says why there is none.
ODD = {
    "ln -s /etc/passwd out": "the output 'out' is a link out of the output directory",
    "ln -s nothing lost": "the output 'lost' is a link that leads nowhere",
    "mkfifo pipe": "the output 'pipe' is a FIFO",
    r"touch $(printf 'bad\377')": "the name of the output 'bad\\xff' is not UTF-8",
}


def _sums(place: Place, prefix: str) -> dict[str, str]:
    pages = place.client.get_paginator("list_objects_v2").paginate(
        Bucket=place.bucket, Prefix=prefix
    )
    keys = [row["Key"] for page in pages for row in page.get("Contents", [])]
    return {key.removeprefix(prefix): hashlib.sha256(place.get(key)).hexdigest() for key in keys}


def test_objects_of_every_kind_and_name_go_through_a_job_byte_for_byte(
    site: DevCluster, place: Place
) -> None:
    for number, name in enumerate(NAMES):
        place.put(f"in/{name}", f"{number} {name}\n".encode() * (number + 1))
    place.put("in/empty", b"")
    place.put("in/one-part-exactly", b"x" * PART_SIZE)
    place.put("in/two-parts-of-outputs", b"y" * (PART_SIZE + 1))
    place.put_parts("in/equal", [5 * MIB, 5 * MIB, 17])
    place.put_parts("in/unequal", [5 * MIB, 7 * MIB, 6 * MIB, 1])
    place.put_parts("in/lone-part", [123])
    assert max(len(f"in/{name}".encode()) for name in NAMES) == 1024
    before = _sums(place, "in/")

    fields: dict[str, Any] = {
        "input_files": [f"{place.bucket}/in/{name}" for name in before],
        "output_dir": f"{place.bucket}/o",
        "input_roots": [f"{place.bucket}/in"],
        "params": {"args": ["0"]},
    }
    job = site.finish(site.submit(image=site.image("sleep"), **fields))
    assert job["state"] == "complete", job["error"]
    assert _sums(place, "o/") == before
    told = {each["file"]: each for each in job["outputs"]}
    empty = told[f"{place.bucket}/o/empty"]
    assert place.client.head_object(Bucket=place.bucket, Key="o/empty")["ContentLength"] == 0
    assert empty["crc64nvme"] is None or len(empty["crc64nvme"]) == 12
    etags = {
        name: place.client.head_object(Bucket=place.bucket, Key=f"o/{name}")["ETag"].strip('"')
        for name in ("one-part-exactly", "two-parts-of-outputs")
    }
    assert etags["one-part-exactly"] == hashlib.md5(b"x" * PART_SIZE).hexdigest()
    assert etags["two-parts-of-outputs"].endswith("-2")


def test_a_key_that_is_no_file_and_a_file_where_another_needs_a_directory_are_refused(
    site: DevCluster, place: Place
) -> None:
    place.put("tree/a", b"1")
    place.put("tree/a/b", b"2")
    place.put("folder/", b"")

    def refusal(files: list[str], **more: Any) -> str:
        job = {
            "cluster": "dev",
            "image": site.image("checksum"),
            "input_files": [f"{place.bucket}/{file}" for file in files],
            "output_dir": "results/none",
            **more,
        }
        done = site.run("cts", "submit", "-", text=json.dumps(job), check=False)
        assert done.returncode != 0
        return done.stderr

    both = refusal(["tree/a", "tree/a/b"], input_roots=[f"{place.bucket}/tree"])
    assert "tree/a/b" in both
    assert "directory" in both
    assert "input_files" in refusal(["folder/"])


def test_an_output_that_cannot_be_one_is_told_by_its_name_and_nothing_is_left_half(
    site: DevCluster, place: Place
) -> None:
    def submit(script: str, **more: Any) -> str:
        prefix = uuid.uuid4().hex
        text = f"#!/bin/sh\ncd /output_files\n{script}\n"
        return site.submit(image=site.image("shell"), script=text, output_dir=f"{place.bucket}/{prefix}", **more)  # fmt: skip

    odd = {submit(f"echo good > good; {script}"): said for script, said in ODD.items()}
    fine = submit(
        'mkdir -p a/b; echo 1 > a/b/c; echo 1 > "it\'s;"; ln -s a/b/c link; chmod 000 a/b/c a; mkfifo /tmp/x'
    )
    reads = [f"sample-data/reads/sample-{n}.txt" for n in (2, 3)]
    clash = submit("echo $$ $(ls /input_files) > same", input_files=reads, num_containers=2)
    apart = submit("echo 1 > same", input_files=reads, num_containers=2, params={"declobber": True})
    for job_id, said in odd.items():
        job = site.finish(job_id)
        assert job["state"] == "error"
        assert said in job["error"]
    job = site.finish(fine)
    assert job["state"] == "complete", job["error"]
    assert site.objects(job["job_input"]["output_dir"]) == {"a/b/c": 2, "link": 2, "it's;": 2}
    job = site.finish(clash)
    assert job["state"] == "error"
    assert "both write" in job["error"]
    assert "declobber" in job["error"]
    assert list(site.objects(job["job_input"]["output_dir"])) == ["same"]
    job = site.finish(apart)
    assert job["state"] == "complete", job["error"]
    assert set(site.objects(job["job_input"]["output_dir"])) == {"0/same", "1/same"}


def test_an_output_that_changes_while_it_is_uploaded_fails_the_container(
    site: DevCluster, place: Place
) -> None:
    """A process of the container's user outside it, as a careless program on a shared scratch would be, writes on."""
    job_id = site.submit(
        image=site.image("shell"),
        script="#!/bin/sh\nhead -c 400000000 /dev/zero > /output_files/grows\n",
        output_dir=f"{place.bucket}/changes",
    )
    file = Path(f"/scratch/cts/jobs/{job_id}/0/out/grows")
    writer = f"until [ -e {file.parent.parent}/.begun-stage-out ]; do sleep 0.02; done; while [ -e {file} ]; do echo x >> {file}; sleep 0.02; done"  # fmt: skip
    site.run("sh", "-c", f"({writer}) >/dev/null 2>&1 &", user="ctsjob")
    job = site.finish(job_id)
    assert job["state"] == "error"
    assert "the output 'grows' changed while it was uploaded" in job["error"]
    assert place.uploads() == []
