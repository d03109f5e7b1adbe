"""The image cache of a site: what goes when it has grown too large, what never goes, and what is found out."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from gateway.agent.image_note import Found, look, settle, write_note
from gateway.agent.mailbox import Stop
from gateway.daemon.image_cache import ImageCaches
from gateway.errors import AppCode, GatewayError
from gateway.store.tables import Audit
from tests.daemon.world import ADA, World, approve

NEEDED = "sha256:" + "a" * 64  # that of the world's jobs


class Shelf:
    """The cache of a world's site; images are named by a letter, and were last used at a second."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = Path(world.site.work) / "images"
        self.folder.mkdir(parents=True)
        self.caches = ImageCaches(world.database, {"dev": world.site})

    def put(self, letter: str, used: int, size: int = 1000) -> Path:
        sif = self.folder / f"sha256-{letter * 64}.sif"
        sif.write_bytes(letter.encode() * size)
        write_note(sif, f"ghcr.io/kbase/{letter}@x", hashlib.sha256(sif.read_bytes()).hexdigest())
        os.utime(sif, ns=(used * 10**9, sif.stat().st_mtime_ns))
        return sif

    def left(self) -> list[str]:
        return sorted(path.name[7] for path in self.folder.glob("sha256-*.sif"))

    def bound(self, most: int | None) -> None:
        self.world.site.section = self.world.site.section.model_copy(
            update={"image_cache_max": most}
        )


@pytest.fixture
def shelf(world: World) -> Shelf:
    return Shelf(world)


def test_what_was_not_used_for_longest_goes_first_and_no_more_than_must(shelf: Shelf) -> None:
    for letter, used in (("b", 30), ("c", 10), ("d", 20), ("e", 40)):
        shelf.put(letter, used)
    shelf.caches.tick("dev")
    assert shelf.left() == ["b", "c", "d", "e"]  # there is no bound
    shelf.bound(2500)
    shelf.caches.tick("dev")
    assert shelf.left() == ["b", "e"]
    assert sorted(path.name[7] for path in (shelf.folder / "notes").iterdir()) == ["b", "e"]


def test_an_image_that_a_job_needs_stays_until_that_has_ended(shelf: Shelf) -> None:
    job = shelf.world.add()  # it is held, and nothing of it is in Slurm
    shelf.put("a", 1)
    shelf.put("b", 2)
    shelf.bound(0)
    shelf.caches.tick("dev")
    assert shelf.left() == ["a"]
    with pytest.raises(GatewayError, match="is needed at the site dev by 1 jobs") as caught:
        shelf.caches.remove(ADA, "dev", NEEDED)
    assert caught.value.code is AppCode.INVALID_JOB_STATE
    assert [image.jobs for image in shelf.caches.everything(())[0].images] == [1]
    shelf.world.change(shelf.world.job(job), phase="complete")
    shelf.caches.tick("dev")
    assert shelf.left() == []


def test_what_dead_builders_left_goes_and_of_one_that_builds_nothing(shelf: Shelf) -> None:
    shelf.world.add()
    now = time.time()
    for name, age in (
        (f".sha256-{'a' * 64}.sif.tmp-n1-5", 7200), (f".sha256-{'a' * 64}.sif.lease-1", 100_000),
        (f".sha256-{'b' * 64}.sif.tmp-n1-5", 7200), (f".sha256-{'b' * 64}.sif.bad-7", 60),
        (f"sha256-{'c' * 64}.sif.lock", 7200), ("README", 10**6),
        (f".sha256-{'c' * 64}.sif.failed-n1", 7200), (f"..sha256-{'c' * 64}.sif.failed-n1.tmp-7-7", 7200),
    ):  # fmt: skip
        (shelf.folder / name).touch()
        os.utime(shelf.folder / name, (now - age, now - age))
    shelf.caches.tick("dev")
    assert sorted(path.name for path in shelf.folder.iterdir()) == [
        f".sha256-{'a' * 64}.sif.tmp-n1-5",
        f".sha256-{'b' * 64}.sif.bad-7",
        "README",
    ]


def test_an_image_that_is_not_what_was_converted_is_found_and_its_next_user_makes_it_again(
    shelf: Shelf,
) -> None:
    sif = shelf.put("b", 5)
    digest = "sha256:" + "b" * 64
    assert shelf.caches.verify(ADA, "dev", digest).good
    assert sif.stat().st_atime == 5  # that was no use of it
    times = sif.stat()
    sif.write_bytes(b"b" * 999 + b"x")
    os.utime(sif, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look(sif) is Found.GOOD  # neither size nor time tell
    os.utime(sif, ns=(times.st_atime_ns, times.st_mtime_ns))
    checked = shelf.caches.verify(ADA, "dev", digest)
    assert not checked.good
    assert "the next job that uses it sets it aside" in (checked.detail or "")
    assert look(sif) is Found.UNKNOWN
    said: list[str] = []
    assert settle(sif, "x", Stop(), said.append) is Found.MISSING
    assert not sif.exists()
    with shelf.world.database.read() as session:
        rows = [(row.action, row.result) for row in session.exec(select(Audit))]
    assert rows == [("cache.verify", "ok")] * 2


def test_a_list_has_names_uses_and_the_bound(shelf: Shelf) -> None:
    approve(shelf.world.database)
    shelf.put("a", 5)
    shelf.put("b", 9, size=10)
    (shelf.folder / "notes" / "sha256-x.json").write_text("no JSON")
    shelf.bound(10**6)
    (cache,) = shelf.caches.everything(["dev"])
    assert (cache.size, cache.max_size, cache.error) == (1010, 10**6, None)
    assert [(i.digest[7], i.names, i.size, i.jobs) for i in cache.images] == [
        ("b", ["ghcr.io/kbase/b"], 10, 0),
        ("a", ["ghcr.io/kbase/sum:1.0"], 1000, 0),
    ]
    assert cache.images[0].last_used.timestamp() == 9


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda c: c.remove(ADA, "dev", "sha256:" + "f" * 64), AppCode.NO_SUCH_IMAGE),
        (lambda c: c.verify(ADA, "mars", NEEDED), AppCode.NOT_FOUND),
        (lambda c: c.prune(ADA, "dev", None), AppCode.MISSING_PARAMETER),
    ],
)
def test_what_is_not_there_is_refused(shelf: Shelf, ask: Any, code: AppCode) -> None:
    with pytest.raises(GatewayError) as caught:
        ask(shelf.caches)
    assert caught.value.code is code
    with shelf.world.database.read() as session:
        assert json.dumps([row.result for row in session.exec(select(Audit))]) != "[]"
