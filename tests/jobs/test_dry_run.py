"""Trying a job out: everything is checked, what it would be is answered, and nothing is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from gateway import wire
from gateway.daemon.dryrun import scripts
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.jobs import preview
from gateway.jobs.inside import FUNCTIONS
from gateway.jobs.service import JobService
from tests.daemon.world import ALICE, World
from tests.jobs.test_admission import Desk

NUMBER = {"type": "container_number", "flag": "-n"}
MANIFEST = {"type": "manifest_file", "manifest_file_format": "files"}


def tried(desk: Desk, **fields: Any) -> wire.DryRun:
    """The answer to a try; nothing of it may stay."""
    world = desk.world
    service = JobService(
        world.database, desk._admission, None, lambda _: None,  # type: ignore[arg-type]
        scripts=lambda job: scripts(world.config, world.site, job),
    )  # fmt: skip
    try:
        return service.dry_run(ALICE, desk.body(**fields))
    finally:
        assert desk.rows() == 0
        assert world.slurm.jobs == {}


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_each_container_is_shown_with_its_files_its_argv_its_variables_and_its_manifest(
    desk: Desk,
) -> None:
    files = [desk.file(f"d/{n}", b"x" * n) for n in range(1, 4)]
    shared = desk.file("db", b"12345")
    found = tried(
        desk,
        input_files=files,
        input_roots=[f"{desk.bucket}/{desk.world.prefix}".rstrip("/")],
        shared_inputs=[shared],
        num_containers=2,
        params={"args": [NUMBER], "environment": {"M": MANIFEST}, "declobber": True},
    )
    assert (found.num_containers, found.input_file_count, found.input_bytes) == (2, 4, 11)
    assert found.image.digest == "sha256:" + "a" * 64
    first, second = found.containers
    assert [(f.file, f.path, f.size) for f in first.input_files] == [
        (files[0], "/input_files/d/1", 1),
        (files[1], "/input_files/d/2", 2),
    ]
    assert [(f.file, f.path) for f in found.shared_inputs] == [(shared, "/input_files/db")]
    assert (first.argv, second.argv) == (["/sum", "-n", "0"], ["/sum", "-n", "1"])
    assert second.environment == {"M": "/input_files/manifest-2"}
    assert [(f.path, f.text) for f in second.generated_files] == [
        ("/input_files/manifest-2", "/input_files/d/3\n")
    ]
    assert second.output_dir == f"{desk.bucket}/{desk.world.prefix}out/1/"
    assert found.containers_left_out == 0


def test_what_is_shown_is_what_the_job_then_has(desk: Desk) -> None:
    files = [desk.file(f"{n}.txt") for n in range(5)]
    fields: dict[str, Any] = {
        "input_files": files, "num_containers": 2, "split_points": [1],
        "params": {"args": [MANIFEST, NUMBER]}, "per_container_args": [["a"], ["b c"]],
    }  # fmt: skip
    shown = tried(desk, **fields)
    number = desk.admit(**fields).id or 0
    desk.world.submitter.tick()
    (submission,) = desk.world.submissions(number)
    real = (submission.script or "").replace(submission.tag.rpartition(":")[2], "0" * 16)
    (script,) = shown.scripts
    as_shown = real.replace(f"cts-{number}-", "cts-0-").replace(f":{number}:", ":0:")
    assert script == re.sub(rf"/jobs/{number}\b", "/jobs/0", as_shown)
    for each in shown.containers:
        row = desk.world.container(number, each.index)
        assert each.argv == ["/sum", *row.args]
        assert {f.path.rpartition("/")[2]: f.text for f in each.generated_files} == row.generated


def test_a_script_is_shown_and_what_runs_it(desk: Desk) -> None:
    found = tried(desk, script="#!/bin/bash -e\ntrue\n", params={"args": ["x"]})
    assert found.containers[0].argv == ["/bin/bash", "-e", "/input_files/cts-script", "x"]
    assert [(f.path, f.text) for f in found.generated_files] == [
        ("/input_files/cts-script", "#!/bin/bash -e\ntrue\n"),
        ("/input_files/.cts-bash-env", FUNCTIONS),
    ]


def test_without_arguments_the_images_command_is_shown(desk: Desk) -> None:
    assert tried(desk).containers[0].argv == ["/sum", "-v"]


def test_a_large_job_has_a_script_for_each_array(desk: Desk) -> None:
    desk.world.slurm.max_array_size = 2
    files = [desk.file(f"{n}.txt") for n in range(5)]
    found = tried(desk, input_files=files, num_containers=5)
    assert ["--array=0-1" in script for script in found.scripts] == [True, True, False]


def test_containers_past_what_an_answer_holds_are_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [desk.file(f"{n}.txt") for n in range(4)]
    whole = tried(desk, input_files=files, num_containers=4)
    size = len(whole.containers[0].model_dump_json())
    for most, shown in ((0, 1), (2 * size, 2), (4 * size, 4)):
        monkeypatch.setattr(preview, "MOST_BYTES", most)
        found = tried(desk, input_files=files, num_containers=4)
        assert found.containers == whole.containers[:shown]
        assert found.containers_left_out == 4 - shown


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image": "ghcr.io/kbase/other:1.0"}, AppCode.NO_SUCH_IMAGE),
        ({"input_files": ["no-such-bucket-at-all/x"]}, AppCode.S3_BUCKET_NOT_FOUND),
        ({"output_dir": "no-such-bucket-at-all/x"}, AppCode.S3_BUCKET_NOT_FOUND),
        ({"cpus": 5}, AppCode.ILLEGAL_PARAMETER),
        ({"cpu": 5}, AppCode.REQUEST_VALIDATION),
    ],
)
def test_what_a_submission_is_refused_for_a_try_is_refused_for(
    desk: Desk, fields: dict[str, Any], code: AppCode
) -> None:
    with pytest.raises(GatewayError) as caught:
        tried(desk, **fields)
    assert caught.value.code is code


def test_a_site_that_does_not_answer_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Callable[[], None]:
        raise SiteError("scontrol: away")

    monkeypatch.setattr(desk.world.slurm, "limits", away)
    with pytest.raises(GatewayError) as caught:
        tried(desk)
    assert caught.value.code is AppCode.SITE_UNAVAILABLE
    assert "scontrol: away" in caught.value.message
