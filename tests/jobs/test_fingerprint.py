"""Two containers are the same when all is the same that decides what they write, and where."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.images.views import approved
from gateway.jobs.fingerprint import fingerprints
from gateway.jobs.model import parse_job_input
from gateway.jobs.plan import make_plan
from gateway.s3.client import ObjectInfo
from gateway.store.tables import Image, Job
from tests.store.rows import image

BASE: dict[str, Any] = {
    "cluster": "dev",
    "image": "x:1",
    "input_files": ["bkt/a", "bkt/b", "bkt/c"],
    "output_dir": "bkt/out",
    "num_containers": 2,
    "shared_inputs": ["bkt/s"],
    "params": {"args": ["-x", {"type": "container_number"}]},
}


def marks(
    *,
    user: str = "alice",
    row: Image | None = None,
    etags: str = "abcs",
    refdata: str | None = None,
    **fields: Any,
) -> list[str]:
    """The fingerprints of a job's containers."""
    asked = parse_job_input(BASE | fields)
    plan = make_plan(asked)
    found = [ObjectInfo(1, etag * 32, None, None) for etag in etags[: len(plan.everything)]]
    kept = approved(row or image()).model_dump(mode="json")
    row_of_job: dict[str, Any] = {"user": user, "image": {**kept, "refdata_mount_point": refdata}}
    job = Job(**row_of_job)
    return fingerprints(job, asked, plan, found)


def test_the_same_job_has_the_same_fingerprints_and_each_container_its_own() -> None:
    assert marks() == marks()
    assert len(set(marks())) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"cpus": 2, "memory": "1GB", "runtime": 100},
        {"name": "x", "labels": {"a": "b"}, "skip_existing": True},
    ],
)
def test_resources_and_names_make_no_difference(fields: dict[str, Any]) -> None:
    assert marks(**fields) == marks()


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "bob"},
        {"row": image(digest="sha256:2")},
        {"row": image(refdata_id=3), "refdata": "/ref"},
        {"params": {"args": ["-y", {"type": "container_number"}]}},
        {"params": {**BASE["params"], "environment": {"A": "1"}}},
        {"params": {**BASE["params"], "input_mount_point": "/in"}},
        {"params": {**BASE["params"], "output_mount_point": "/out"}},
        {"params": {**BASE["params"], "declobber": True}},
        {"params": {"args": [{"type": "manifest_file", "manifest_file_format": "files"}]}},
        {"script": "true"},
        {"nodes": 2},
        {"output_dir": "bkt/other"},
        {"shared_inputs": ["bkt/t"]},
        {"etags": "abct"},
        {"input_roots": ["bkt", ""], "input_files": ["bkt/x/a", "bkt/x/b", "bkt/x/c"]},
    ],
    ids=" ".join,
)
def test_what_decides_the_outputs_makes_other_fingerprints(fields: dict[str, Any]) -> None:
    assert not set(marks(**fields)) & set(marks())


def test_an_input_that_changed_makes_its_container_another_and_no_other() -> None:
    one, two = marks()
    assert marks(etags="abxs")[0] == one
    assert marks(etags="abxs")[1] != two
