"""The image cache, filled by a script that stands for apptainer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.agent.image import ImageError, ensure, sif_path
from gateway.agent.mailbox import Stop, Stopped
from tests.agent.conftest import Site

ROOT = Path(__file__).resolve().parents[2]
_CHILD = """
import sys
from pathlib import Path
from gateway.agent.files import read_job
from gateway.agent.image import ensure
from gateway.agent.mailbox import Stop
print(ensure(read_job(Path(sys.argv[1])), Path(sys.argv[2]), Stop(), print))
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

    def ensure(self, stop: Stop | None = None) -> bool:
        return ensure(
            self.job, self.site.base / ".pull", stop or Stop(lambda _: None), self.said.append
        )

    def fails(self) -> str:
        with pytest.raises(ImageError) as caught:
            self.ensure()
        assert self.left() == []
        return str(caught.value)

    def left(self) -> list[str]:
        return [p.name for p in self.sif.parent.iterdir() if not p.name.endswith(".lock")]


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


def test_what_a_dead_node_left_is_removed_and_never_taken_for_the_image(cache: Cache) -> None:
    cache.sif.parent.mkdir()
    cache.sif.touch()  # empty: a server that lost its data
    (cache.sif.parent / f".{cache.sif.name}.tmp-n9-1").write_text("half")
    cache.program('echo sif > "$target"')
    assert cache.ensure() is False
    assert cache.left() == [cache.sif.name]


def test_using_an_image_shows_in_its_time(cache: Cache) -> None:
    cache.program('echo sif > "$target"')
    cache.ensure()
    os.utime(cache.sif, (1, 1))
    cache.ensure()
    assert cache.sif.stat().st_mtime > 1


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
