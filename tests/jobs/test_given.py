"""What a job's containers are given, from the request to the rows, to the node and back to who asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import wire
from gateway.config import PathRule
from gateway.errors import AppCode
from gateway.jobs import views
from gateway.store import jobs as store
from gateway.store.tables import Container, InputFile
from tests.daemon.world import ALICE, World
from tests.jobs.test_admission import Desk, _crc

MANIFEST = {"type": "manifest_file", "manifest_file_format": "data_ids"}


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def _inputs(desk: Desk, number: int, container: int | None = None) -> list[InputFile]:
    with desk.world.database.read() as session:
        return store.inputs(session, number, container)


def _shown(desk: Desk, number: int) -> wire.Job:
    with desk.world.database.read() as session:
        job = store.get(session, number)
        assert job is not None
        return views.full(session, job)


def _container_json(desk: Desk, number: int, index: int) -> dict[str, Any]:
    path = desk.world.folder(number, index) / "container.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_shared_input_is_stored_once_and_reaches_each_container(desk: Desk) -> None:
    files = [desk.file(f"{n}.txt") for n in range(3)]
    number = desk.admit(input_files=files, num_containers=3, shared_inputs=[desk.file("db", b"12345")]).id or 0  # fmt: skip
    assert [row.path for row in _inputs(desk, number)] == ["0.txt", "1.txt", "2.txt", "db"]
    desk.world.submitter.tick()
    for index in range(3):
        paths = [item["path"] for item in _container_json(desk, number, index)["inputs"]]
        assert paths == [f"{index}.txt", "db"]
        assert [row.path for row in _inputs(desk, number, index)] == paths
    job = desk.world.job(number)
    assert (job.input_file_count, job.input_bytes) == (4, 14)


def test_the_accounting_counts_a_shared_input_for_each_container(desk: Desk) -> None:
    from tests.reports.test_acct import _rows

    files = [desk.file(f"{n}.txt") for n in range(2)]
    number = desk.admit(input_files=files, num_containers=2, shared_inputs=[desk.file("db", b"12345")]).id  # fmt: skip
    rows = {row.JobID: (row.Inputs, row.InBytes) for row in _rows(desk.world)}
    assert rows[f"{number}_0"] == rows[f"{number}_1"] == (2, 8)


def test_a_shared_input_is_checked_like_any_other(world: World) -> None:
    desk = Desk(world, [PathRule(path=f"{world.bucket.bucket}/{world.prefix}", perm="write")])
    assert desk.refused(shared_inputs=["elsewhere/x"]).code is AppCode.S3_PATH_INACCESSIBLE
    none = f"{desk.bucket}/{world.prefix}none"
    assert desk.refused(shared_inputs=[none]).code is AppCode.S3_PATH_NOT_FOUND
    name = desk.file("sum.txt")
    world.bucket.put(f"{world.prefix}sum.txt", b"abc", ChecksumAlgorithm="CRC64NVME")
    wrong = [{"file": name, "crc64nvme": _crc(b"abd")}]
    assert desk.refused(shared_inputs=wrong).code is AppCode.CHECKSUM_MISMATCH


def test_manifests_are_kept_with_their_container_and_out_of_small_queries(desk: Desk) -> None:
    files = [{"file": desk.file(f"{n}.txt"), "data_id": f"id {n}"} for n in range(3)]
    number = desk.admit(input_files=files, num_containers=2, params={"args": [MANIFEST]}).id or 0
    desk.world.submitter.tick()
    assert [_container_json(desk, number, n)["generated"] for n in range(2)] == [
        [{"path": "manifest-1", "text": "id 0\nid 1\n"}],
        [{"path": "manifest-2", "text": "id 2\n"}],
    ]
    with desk.world.database.read() as session:
        rows = store.containers(session, number)
        assert all("generated" not in row.__dict__ for row in rows)
    with desk.world.database.read() as session:
        whole = session.get(Container, (number, 0))
        assert whole is not None
        assert whole.generated == {"manifest-1": "id 0\nid 1\n"}


def test_a_job_is_shown_as_it_was_given_with_checksums_and_data_ids(desk: Desk) -> None:
    files = [{"file": desk.file(f"{n}.txt"), "data_id": f"id {n}"} for n in range(2)]
    files[0]["crc64nvme"] = _crc(b"abc")
    shared = desk.file("db")
    asked: dict[str, Any] = {"input_files": files, "shared_inputs": [shared], "script": "true", "params": {"args": [MANIFEST]}}  # fmt: skip
    number = desk.admit(**asked).id or 0
    shown = _shown(desk, number).job_input
    assert shown["input_files"] == [
        {"file": files[0]["file"], "crc64nvme": _crc(b"abc"), "data_id": "id 0"},
        {"file": files[1]["file"], "crc64nvme": None, "data_id": "id 1"},
    ]
    assert shown["shared_inputs"] == [{"file": shared, "crc64nvme": None}]
    assert shown["script"] == "true"
    assert shown["params"]["args"] == [MANIFEST]
    with desk.world.database.read() as session:
        row = store.get(session, number)
        assert row is not None
        listed = views.preview(session, row).job_input
    assert not {"input_files", "shared_inputs", "script"} & set(listed)


def test_dirs_are_listed_at_submission_and_their_files_split_behind_those_named(desk: Desk) -> None:
    world = desk.world
    for key in ("d/b", "d/a", "d/sub/", "d/sub/c", "dx"):
        desk.file(key, b"" if key.endswith("/") else b"abc")
    top = f"{desk.bucket}/{world.prefix}"
    named = desk.file("first")
    number = desk.admit(input_files=[named], input_dirs=[f"{top}d/"], num_containers=2).id or 0
    assert [row.path for row in _inputs(desk, number)] == ["first", "a", "b", "c"]
    assert [row.container for row in _inputs(desk, number)] == [0, 0, 1, 1]
    shown = _shown(desk, number)
    assert shown.job_input["input_dirs"] == [f"{top}d/"]
    assert [item["file"] for item in shown.job_input["input_files"]] == [named]
    assert [item.file for item in shown.listed_files] == [f"{top}d/a", f"{top}d/b", f"{top}d/sub/c"]


def test_with_dirs_alone_the_job_is_shown_without_a_list_that_it_did_not_have(desk: Desk) -> None:
    desk.file("d/a")
    top = f"{desk.bucket}/{desk.world.prefix}"
    body = desk.body(input_dirs=[f"{top}d"])
    del body["input_files"]
    number = desk._admission.admit(ALICE, body).id or 0
    shown = _shown(desk, number)
    assert "input_files" not in shown.job_input
    assert [item.file for item in shown.listed_files] == [f"{top}d/a"]


def test_what_matches_comes_in_the_order_of_the_patterns(desk: Desk) -> None:
    for key in ("g/b.fq", "g/a.fq", "g/c.fa", "g/sub/d.fq", "g/x1", "g/x33"):
        desk.file(key)
    top = f"{desk.bucket}/{desk.world.prefix}"
    body = desk.body(input_globs=[f"{top}g/x[1-2]", f"{top}g/*.fq"], array="1-2")
    del body["input_files"]
    number = desk._admission.admit(ALICE, body).id or 0
    shown = _shown(desk, number)
    assert [item.file for item in shown.listed_files] == [
        f"{top}g/x1",
        f"{top}g/a.fq",
        f"{top}g/b.fq",
    ]
    assert shown.input_file_count == 3
    assert len(_inputs(desk, number)) == 6  # each of the two tasks gets all


def test_a_pattern_that_nothing_matches_or_that_is_too_wide_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.file("g/a.fq")
    top = f"{desk.bucket}/{desk.world.prefix}"
    error = desk.refused(input_globs=[f"{top}g/*.fa"])
    assert error.code is AppCode.S3_PATH_NOT_FOUND
    assert "input_globs[0]: no object matches" in error.message
    for most, said in ((100_001, "over 100000 objects to be looked at"), (10_001, "10000 in all")):
        rows = [(f"g/{n:06}", 1) for n in range(most)]
        monkeypatch.setattr(desk.world.store, "listed", lambda *_, rows=rows: rows)
        error = desk.refused(input_globs=[f"{desk.bucket}/g/*"])
        assert error.details[0].loc == ("input_globs", 0)
        assert said in error.message


def test_a_pattern_below_what_a_user_may_not_read_is_refused_before_it_is_listed(
    world: World,
) -> None:
    desk = Desk(world, [PathRule(path=f"{world.bucket.bucket}/{world.prefix}", perm="write")])
    error = desk.refused(input_globs=[f"{world.bucket.bucket}/{world.prefix.rstrip('/')}*/x"])
    assert error.code is AppCode.S3_PATH_INACCESSIBLE
    desk.file("g/x")
    desk.admit(input_globs=[f"{world.bucket.bucket}/{world.prefix}g/*"])


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ((), AppCode.S3_PATH_NOT_FOUND, "input_dirs[0]: there is no object below"),
        (("d/", "d/e/"), AppCode.S3_PATH_NOT_FOUND, "there is no object below"),
        (("d/a;b",), AppCode.ILLEGAL_S3_PATH, "';'"),
        (("d/x//y",), AppCode.ILLEGAL_S3_PATH, '"//"'),
        (("d/x/f", "d/y/f"), AppCode.ILLEGAL_PARAMETER, "keep their directories with input_roots"),
        (("d/a.txt",), AppCode.ILLEGAL_PARAMETER, "both land at 'a.txt'"),
    ],
)
def test_dirs_that_hold_what_no_job_can_have_are_refused(
    desk: Desk, keys: tuple[str, ...], code: AppCode, said: str
) -> None:
    for key in keys:
        desk.file(key, b"" if key.endswith("/") else b"abc")
    error = desk.refused(input_dirs=[f"{desk.bucket}/{desk.world.prefix}d"])
    assert error.code is code
    assert said in error.message


def test_more_files_than_a_job_may_have_are_refused_before_each_is_looked_at(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"d/{n:05}", 1) for n in range(10_001)]
    monkeypatch.setattr(desk.world.store, "listed", lambda *_: rows)
    error = desk.refused(input_dirs=[f"{desk.bucket}/d"])
    assert error.code is AppCode.REQUEST_VALIDATION
    assert error.details[0].loc == ("input_dirs", 0)
    assert "10000 in all" in error.message
    assert desk.world.store.looked == []


def test_a_dir_that_a_user_may_not_read_is_refused_before_it_is_listed(world: World) -> None:
    desk = Desk(world, [PathRule(path=f"{world.bucket.bucket}/{world.prefix}", perm="write")])
    error = desk.refused(input_dirs=[world.bucket.bucket])
    assert error.code is AppCode.S3_PATH_INACCESSIBLE
    desk.file("d/x")
    desk.admit(input_dirs=[f"{world.bucket.bucket}/{world.prefix}d"])
