"""The image cache, filled by a script that stands for apptainer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.agent.image import ensure, sif_path
from gateway.agent.image_build import ImageError, build
from gateway.agent.image_failed import Failures, Told
from gateway.agent.image_lease import Leases
from gateway.agent.image_note import note_path
from gateway.agent.mailbox import Stop, Stopped
from tests.agent.conftest import Site

ROOT = Path(__file__).resolve().parents[2]
_CHILD = """
import sys
from pathlib import Path
from gateway.agent.files import read_job
from gateway.agent.image import ensure
from gateway.agent.image_build import ImageError
from gateway.agent.mailbox import Stop
try:
    print(ensure(read_job(Path(sys.argv[1])), Path(sys.argv[2]), Stop(), print))
except ImageError as exc:
    print(exc)
"""


class Cache:
    """An image cache and the program that fills it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.job = site.job()
        self.sif = sif_path(self.job)
        self.calls = site.work / "calls"
        self.said: list[str] = []

    def program(self, script: str) -> None:
        """Have apptainer note its call, then do this; $target is where the image shall be."""
        path = Path(self.job.apptainer)
        path.parent.mkdir(exist_ok=True)
        note = f'echo "$@" >> {self.calls}'
        target = "for word; do target=$last; last=$word; done"
        path.write_text(f"#!/bin/sh\n{note}\n{target}\n{script}\n")
        path.chmod(0o755)

    def ensure(self, stop: Stop | None = None, leases: Leases | None = None) -> bool:
        return ensure(
            self.job,
            self.site.base / ".pull",
            stop or Stop(lambda _: None),
            self.said.append,
            leases=leases,
        )

    def hasty(self) -> Leases:
        return Leases(self.sif, patience=0.3, renewed=0.05)

    def note(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(note_path(self.sif).read_text())
        return found

    def conversions(self) -> int:
        return len(self.calls.read_text().splitlines())

    def fails(self) -> str:
        with pytest.raises(ImageError) as caught:
            self.ensure()
        assert self.left() == []
        return str(caught.value)

    def left(self) -> list[str]:
        known = ("notes", f".{self.sif.name}.failed-{os.uname().nodename}")
        return [p.name for p in self.sif.parent.iterdir() if p.name not in known]

    def waiting(self, count: int) -> None:
        """Wait until so many wait for the lease."""
        while len(list(self.sif.parent.glob(".*.lease-of-*"))) < count:
            time.sleep(0.01)


@pytest.fixture
def cache(site: Site) -> Cache:
    return Cache(site)


def test_an_image_is_converted_once_and_found_afterwards(cache: Cache) -> None:
    cache.program('echo sif > "$target"')
    assert cache.ensure() is False
    assert cache.ensure() is True
    assert cache.left() == [cache.sif.name]
    assert cache.sif.stat().st_mode & 0o777 == 0o400
    (call,) = cache.calls.read_text().splitlines()
    assert call.startswith("build --disable-cache")
    assert call.endswith(f"docker://{cache.job.image.reference}")
    assert not (cache.site.base / ".pull").exists()


def test_nodes_that_want_it_at_the_same_time_convert_it_once(cache: Cache) -> None:
    cache.program('sleep 0.3; echo sif > "$target"')
    argv = [sys.executable, "-c", _CHILD, str(cache.site.job_dir / "job.json")]
    nodes = [
        subprocess.Popen(
            [*argv, str(cache.site.work / f"pull{n}")], cwd=ROOT, stdout=subprocess.PIPE
        )
        for n in range(4)
    ]
    said = sorted(node.communicate(timeout=60)[0].split()[-1] for node in nodes)
    assert said == [b"False", b"True", b"True", b"True"]
    assert len(cache.calls.read_text().splitlines()) == 1


def test_a_file_without_a_note_is_taken_when_its_header_says_that_it_is_whole(cache: Cache) -> None:
    cache.program('echo sif > "$target"')
    data = b"r" * 900
    numbers = (0, 0, 0, 0, 0, 0, 128, len(data))
    head = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + b"01\0" + b"02\0" + b"u" * 16
    sif = head + struct.pack("<8q", *numbers) + data
    cache.sif.parent.mkdir()
    cache.sif.write_bytes(sif)
    assert cache.ensure() is True
    assert not cache.calls.exists()
    assert cache.note()["sha256"] == hashlib.sha256(sif).hexdigest()
    cache.sif.unlink()
    note_path(cache.sif).unlink()
    cache.sif.write_bytes(sif[:-1])
    assert cache.ensure() is False
    assert cache.conversions() == 1


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda sif: os.truncate(sif, 100), id="cut"),
        pytest.param(lambda sif: os.truncate(sif, 0), id="emptied"),
        pytest.param(lambda sif: sif.write_bytes(b"x" * 1000), id="written again"),
    ],
)
def test_an_image_that_is_not_what_was_converted_is_set_aside_and_made_again(
    cache: Cache, harm: Callable[[Path], None]
) -> None:
    cache.program('head -c 1000 /dev/zero > "$target"')
    cache.ensure()
    cache.sif.chmod(0o600)
    os.utime(cache.sif, (1, 1))
    note = cache.note() | {"mtime": 1}
    note_path(cache.sif).write_text(json.dumps(note))  # it was made long ago
    assert cache.ensure() is True
    harm(cache.sif)
    assert cache.ensure() is False
    assert cache.sif.read_bytes() == b"\0" * 1000
    assert "is not what was converted; it is set aside as" in "".join(cache.said)
    (aside,) = (name for name in cache.left() if name.startswith(f".{cache.sif.name}.bad-"))
    assert (cache.sif.parent / aside).stat().st_size in (0, 100, 1000)
    assert cache.conversions() == 2


def test_an_image_whose_time_alone_is_another_is_read_whole_once_and_kept(cache: Cache) -> None:
    cache.program('echo sif > "$target"')
    cache.ensure()
    os.utime(cache.sif, (5, 5))
    assert cache.ensure() is True
    assert cache.note()["mtime"] == 5
    assert cache.conversions() == 1


def test_using_an_image_shows_in_its_time_of_access_and_nowhere_else(cache: Cache) -> None:
    cache.program('echo sif > "$target"')
    cache.ensure()
    before = cache.sif.stat()
    os.utime(cache.sif, ns=(10**9, before.st_mtime_ns))
    assert cache.ensure() is True
    after = cache.sif.stat()
    assert after.st_atime > 1
    assert after.st_mtime_ns == before.st_mtime_ns


def test_a_holder_that_was_killed_is_followed_at_once_on_its_node(cache: Cache) -> None:
    cache.program(f"echo $$ > {cache.site.work}/pid; exec sleep 60")
    argv = [sys.executable, "-c", _CHILD, str(cache.site.job_dir / "job.json")]
    holder = subprocess.Popen([*argv, str(cache.site.work / "pull")], cwd=ROOT)
    while not cache.calls.exists():
        time.sleep(0.01)
    holder.kill()
    holder.wait()
    cache.program('echo sif > "$target"')
    assert cache.ensure() is False
    os.kill(int((cache.site.work / "pid").read_text()), signal.SIGKILL)
    assert "its holder on this node is dead" in "".join(cache.said)
    assert cache.left() == [cache.sif.name]


def test_a_holder_whose_node_is_gone_is_followed_when_it_gives_no_sign_of_life(
    cache: Cache,
) -> None:
    cache.sif.parent.mkdir()
    leases = Leases(cache.sif, patience=0.3, renewed=0.05)
    leases.path(1).write_text("0000/1 77 1234")
    cache.program('echo sif > "$target"')
    assert cache.ensure(Stop(), leases) is False
    assert "its holder gave no sign of life for" in "".join(cache.said)
    assert cache.left() == [cache.sif.name]


def test_a_lease_that_is_old_is_not_waited_for(cache: Cache) -> None:
    cache.sif.parent.mkdir()
    old = Leases(cache.sif).path(3)
    old.write_text("0000/1 77 1234")
    os.utime(old, (1, 1))
    cache.program('echo sif > "$target"')
    assert cache.ensure() is False
    assert cache.left() == [cache.sif.name]


def test_a_holder_that_renews_its_lease_is_waited_for_however_long_it_takes(cache: Cache) -> None:
    cache.sif.parent.mkdir()
    held = cache.hasty().take(lambda: False, Stop(), cache.said.append)
    assert held is not None
    looks = iter(range(6))  # more than its patience
    waiter = cache.hasty().take(lambda: next(looks, None) is None, Stop(), cache.said.append)
    assert waiter is None
    assert (held.lost, cache.said) == (False, [])
    held.release()
    assert cache.left() == []


def test_one_that_hangs_is_followed_and_takes_what_the_other_made_when_it_comes_back(
    cache: Cache,
) -> None:
    """A stopped process gives no sign of life; once it goes on, it finds the image of another and leaves that alone."""
    go = cache.site.work / "go"
    cache.program(f'while [ ! -e {go} ]; do sleep 0.02; done; echo first > "$target"')
    argv = [sys.executable, "-c", _CHILD, str(cache.site.job_dir / "job.json")]
    hung = subprocess.Popen(
        [*argv, str(cache.site.work / "pull")], cwd=ROOT, stdout=subprocess.PIPE
    )
    while not cache.calls.exists():
        time.sleep(0.01)
    hung.send_signal(signal.SIGSTOP)
    cache.program('echo second > "$target"')
    assert cache.ensure(Stop(), cache.hasty()) is False
    go.touch()
    hung.send_signal(signal.SIGCONT)
    assert hung.communicate(timeout=60)[0].split()[-1] == b"True"
    assert cache.sif.read_text() == "second\n"
    assert cache.left() == [cache.sif.name]
    assert cache.ensure() is True


def test_of_those_that_follow_a_dead_one_at_the_same_time_one_gets_the_lease(cache: Cache) -> None:
    cache.sif.parent.mkdir()
    old = cache.hasty().path(1)
    old.write_text("0000/1 77 1234")
    os.utime(old, (1, 1))
    got: list[int] = []

    def want() -> None:
        lease = Leases(cache.sif).take(lambda: bool(got), Stop(), cache.said.append)
        if lease is not None:
            got.append(1)  # it keeps it

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [1]
    assert cache.hasty().numbers()[-1] == 2


def test_a_file_system_without_hard_links_has_leases_and_images_too(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    cache.program('echo sif > "$target"')
    assert cache.ensure() is False
    assert cache.ensure() is True
    assert cache.left() == [cache.sif.name]


def test_a_conversion_that_does_nothing_is_ended_and_begun_again(cache: Cache) -> None:
    first = cache.site.work / "first"
    cache.program(f'[ -e {first} ] || {{ touch {first}; exec sleep 60; }}; echo sif > "$target"')
    private = cache.site.base / ".pull"
    private.mkdir()
    target = cache.site.work / "target"
    quick = Stop(lambda seconds: time.sleep(min(seconds, 0.02)))
    build(cache.job, target, private, quick, cache.said.append, {}, 0.5)
    assert target.read_text() == "sif\n"
    assert cache.said == ["image: apptainer did nothing for 0 s; attempt 2"]


def test_one_that_works_is_left_alone_however_long_it_takes(cache: Cache) -> None:
    cache.program('head -c 1000000000 /dev/zero | cksum >/dev/null; echo sif > "$target"')
    private = cache.site.base / ".pull"
    private.mkdir()
    build(cache.job, cache.site.work / "target", private, Stop(), cache.said.append, {}, 0.3)
    assert cache.said == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'FATAL:   manifest unknown' >&2; exit 255", "could not be fetched or converted: manifest unknown"),
        ("exit 1", "apptainer ended with status 1"),
        ("true", "apptainer made no file"),
        (': > "$target"', "apptainer made no file"),
        ("echo 'FATAL:   mksquashfs command failed: signal: killed' >&2; exit 255", "the job's memory is too small"),
        ("echo 'FATAL: https://r.example/v2/?token=abc: denied'; exit 255", "https://r.example/v2/?…"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_had_says_why(cache: Cache, script: str, said: str) -> None:
    cache.program(script)
    assert said in cache.fails()
    assert len(cache.calls.read_text().splitlines()) == 1


def test_those_who_waited_for_one_that_fails_fail_with_it_and_who_comes_later_tries_anew(
    cache: Cache,
) -> None:
    go = cache.site.work / "go"
    fails = "echo 'FATAL:   manifest unknown' >&2; exit 255"
    cache.program(f"while [ ! -e {go} ]; do sleep 0.02; done; {fails}")
    argv = [sys.executable, "-c", _CHILD, str(cache.site.job_dir / "job.json")]
    nodes = [
        subprocess.Popen(
            [*argv, str(cache.site.work / f"pull{n}")], cwd=ROOT, stdout=subprocess.PIPE
        )
        for n in range(5)
    ]
    cache.waiting(4)
    go.touch()
    said = [node.communicate(timeout=60)[0].decode().splitlines() for node in nodes]
    assert cache.conversions() == 1
    assert {lines[-1].rpartition(": ")[2] for lines in said} == {"manifest unknown"}
    waited = ["image: another task that wanted it has failed to have it"]
    assert sorted(lines[:-1] for lines in said) == [[], waited, waited, waited, waited]
    assert cache.left() == []
    assert "manifest unknown" in cache.fails()
    assert cache.conversions() == 2
    cache.program('echo sif > "$target"')
    assert cache.ensure() is False
    assert [name for name in os.listdir(cache.sif.parent) if "failed" in name] == []


@pytest.fixture
def failing(cache: Cache) -> Callable[[str, int, ImageError], None]:
    """Have a task of a job on a node fail to have the image."""
    cache.sif.parent.mkdir()

    def fail(node: str, job_id: int, error: ImageError) -> None:
        Failures(cache.sif, job_id, cache.said.append, node).note(error)

    return fail


def _told(failures: Failures) -> str:
    with pytest.raises(Told) as caught:
        failures.check()
    return str(caught.value)


def test_a_failure_on_another_node_counts_once_a_second_node_has_failed_too(
    cache: Cache, failing: Callable[[str, int, ImageError], None]
) -> None:
    refused = ImageError("connection refused", anybodys=True)
    failing("n3", 1, refused)  # before
    waiting = Failures(cache.sif, 7, cache.said.append, "n1")
    waiting.check()
    failing("n2", 1, refused)
    failing("n2", 2, refused)
    waiting.check()
    failing("n3", 1, refused)
    assert _told(waiting) == "connection refused"
    Failures(cache.sif, 7, cache.said.append, "n1").check()  # who comes now


def test_a_failure_on_its_own_node_counts_at_once(
    cache: Cache, failing: Callable[[str, int, ImageError], None]
) -> None:
    waiting = Failures(cache.sif, 7, cache.said.append, "n1")
    failing("n1", 1, ImageError("connection refused", anybodys=True))
    assert _told(waiting) == "connection refused"


def test_what_may_be_a_jobs_own_trouble_is_told_to_its_tasks_alone(
    cache: Cache, failing: Callable[[str, int, ImageError], None]
) -> None:
    mine, others = (Failures(cache.sif, job, cache.said.append, "n1") for job in (7, 8))
    failing("n1", 7, ImageError("the job's memory is too small to convert it"))
    others.check()
    assert _told(mine) == "the job's memory is too small to convert it"


@pytest.mark.parametrize(
    ("text", "anybodys"),
    [
        ("FATAL: reading manifest: manifest unknown", True),
        ("FATAL: dial tcp 127.0.0.1:5000: connect: connection refused", True),
        ("FATAL: requested access to the resource is denied", True),
        ("FATAL: mksquashfs command failed: signal: killed", False),
        ("FATAL: write /tmp/x: no space left on device", False),
        ("FATAL: open /tmp/x: permission denied", False),
    ],
)
def test_what_a_registry_says_is_told_from_what_a_node_says(
    cache: Cache, text: str, anybodys: bool
) -> None:
    cache.program(f"echo '{text}' >&2; exit 255")
    with pytest.raises(ImageError) as caught:
        cache.ensure()
    assert caught.value.anybodys is anybodys


def test_trouble_that_may_pass_is_tried_three_times(cache: Cache) -> None:
    cache.program("echo 'FATAL:   503 Service Unavailable' >&2; exit 255")
    assert "503 Service Unavailable" in cache.fails()
    assert len(cache.calls.read_text().splitlines()) == 3


def test_an_older_apptainer_is_asked_without_the_option_it_lacks(cache: Cache) -> None:
    cache.program(
        'case "$*" in *--mksquashfs-args*) echo "unknown flag: --mksquashfs-args"; exit 1;; esac\n'
        'echo sif > "$target"'
    )
    assert cache.ensure() is False
    assert len(cache.calls.read_text().splitlines()) == 2


def test_an_end_stops_the_conversion_and_leaves_nothing(cache: Cache) -> None:
    cache.program(f"echo $$ > {cache.site.work}/pid; exec sleep 60")
    stop = Stop()

    def end() -> None:
        while not cache.calls.exists():
            time.sleep(0.01)
        stop.canceled = True

    threading.Thread(target=end).start()
    with pytest.raises(Stopped):
        cache.ensure(stop)
    assert cache.left() == []


def test_a_login_is_in_the_environment_of_that_one_program_and_nowhere_else(cache: Cache) -> None:
    cache.job = cache.site.job(image={**cache.site.job_json["image"], "login": True})
    secret = {"APPTAINER_DOCKER_USERNAME": "lab", "APPTAINER_DOCKER_PASSWORD": "s3cr3t"}
    cache.program(
        f'env > {cache.site.work}/env; echo "FATAL: $APPTAINER_DOCKER_PASSWORD is wrong"; exit 255'
    )
    with pytest.raises(ImageError) as caught:
        ensure(cache.job, cache.site.base / ".pull", Stop(), cache.said.append, lambda: secret)
    assert str(caught.value).endswith("… is wrong")
    lines = (cache.site.work / "env").read_text().splitlines()
    assert {f"{name}={value}" for name, value in secret.items()} <= set(lines)
    (cache.site.work / "env").unlink()
    assert "s3cr3t" not in cache.calls.read_text() + " ".join(cache.said)
    left = [path for path in cache.site.work.rglob("*") if path.is_file()]
    assert [path for path in left if "s3cr3t" in path.read_text()] == []


def test_a_login_is_asked_for_only_where_there_is_one_and_the_image_must_be_fetched(
    cache: Cache,
) -> None:
    asked: list[int] = []

    def ask() -> dict[str, str]:
        asked.append(1)
        return {}

    def have() -> None:
        ensure(cache.job, cache.site.base / ".pull", Stop(), cache.said.append, ask)

    cache.program('echo sif > "$target"')
    have()  # a public registry
    assert asked == []
    cache.job = cache.site.job(image={**cache.site.job_json["image"], "login": True})
    have()  # it is in the cache
    assert asked == []
    cache.sif.unlink()
    have()
    assert asked == [1]


def test_a_missing_program_is_named(cache: Cache) -> None:
    assert f"{cache.job.apptainer} cannot be started" in cache.fails()


@pytest.mark.parametrize(
    "digest", ["sha256:../../x", "sha512:" + "a" * 128, "", "sha256:" + "A" * 64]
)
def test_a_digest_that_is_none_names_no_file(site: Site, digest: str) -> None:
    changed: dict[str, Any] = {**site.job_json["image"], "digest": digest}
    with pytest.raises(ImageError, match="is not sha256"):
        sif_path(site.job(image=changed))
