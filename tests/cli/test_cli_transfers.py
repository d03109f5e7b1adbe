"""cts put and cts get: what they print, and how they fail. How files are moved: tests/client/test_client_files.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway import wire
from gateway.client import Client, TransferError
from tests.api.gateway_fake import FakeGateway
from tests.cli.run import run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the client is asked for, in place of doing it."""
    calls: list[tuple[Any, ...]] = []

    def upload(self: Client, path: Sequence[str], target: str, *, on_bytes: Any) -> Any:
        calls.append((path, target))
        return [wire.Output(file=f"{target}/{name}", size=1, etag="e") for name in path]

    def download(self: Client, job: str, directory: str, *, match: Any, on_bytes: Any) -> Any:
        calls.append((job, directory, list(match)))
        return [Path(directory) / "a\n.txt"]

    monkeypatch.setattr(Client, "upload", upload)
    monkeypatch.setattr(Client, "download", download)
    return calls


def test_put_prints_the_objects_as_a_job_takes_them(fake: FakeGateway, asked: list[Any]) -> None:
    done = run(fake, "cts", "put", "a", "b", "data/mine")
    assert (done.code, done.out, done.err) == (0, "data/mine/a\ndata/mine/b\n", "")
    assert asked == [(["a", "b"], "data/mine")]
    done = run(fake, "cts", "put", "--json", "a", "data/mine")
    assert json.loads(done.out)[0]["file"] == "data/mine/a"


def test_get_prints_the_files_harmless_to_a_terminal(fake: FakeGateway, asked: list[Any]) -> None:
    done = run(fake, "cts", "get", "12", "out", "--match", "*.txt", "--match", "b")
    assert (done.code, done.out) == (0, "out/a?.txt\n")
    assert run(fake, "cts", "get", "12", "--json").out == '[\n "a\\n.txt"\n]\n'
    assert asked == [("12", "out", ["*.txt", "b"]), ("12", ".", [])]


def test_what_could_not_be_moved_is_exit_code_1_and_a_bad_id_is_told(
    fake: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fake, "cts", "put", "/nothing/there", "data/mine").refused(1, "/nothing/there", "No such")

    def fails(*_: Any, **__: Any) -> None:
        raise TransferError("the disk is full")

    monkeypatch.setattr(Client, "download", fails)
    run(fake, "cts", "get", "12").refused(1, "the disk is full")
    run(fake, "cts", "get", "12_0").refused(2, "cts get 12")


def test_a_job_of_nobody_or_of_another_is_no_such_job(fake: FakeGateway) -> None:
    number = fake.jobs.add(user="bob", phase="complete")
    run(fake, "cts", "get", str(number)).refused(3, "There is no job", "40040")
    run(fake, "cts", "get", "99").refused(3, "There is no job", "40040")
