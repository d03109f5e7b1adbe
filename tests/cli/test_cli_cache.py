"""cts admin cache: what it prints of a real cache, and what it refuses."""

from __future__ import annotations

import hashlib
import json

import pytest

from gateway.agent.image_note import write_note
from tests.api.gateway_fake import FakeGateway
from tests.cli.run import run

CACHE = ("cts", "admin", "cache")


@pytest.fixture
def filled(fake_admin: FakeGateway) -> FakeGateway:
    folder = fake_admin.work / "images"
    folder.mkdir(exist_ok=True)
    for letter in "bc":
        sif = folder / f"sha256-{letter * 64}.sif"
        sif.write_bytes(letter.encode() * 2048)
        digest = hashlib.sha256(sif.read_bytes()).hexdigest()
        write_note(sif, f"ghcr.io/kbase/{letter}@sha256:x", digest)
    return fake_admin


def test_images_are_listed_verified_removed_and_pruned(filled: FakeGateway) -> None:
    lines = run(filled, *CACHE, "list").out.splitlines()
    assert lines[0].split() == ["SITE", "DIGEST", "SIZE", "LAST", "USED", "JOBS", "NAMES"]
    assert lines[-1] == "dev: 2 images, 4.00K, 953.67M at most"
    listed = json.loads(run(filled, *CACHE, "list", "--site", "dev", "--json").out)
    assert {i["names"][0] for i in listed[0]["images"]} == {"ghcr.io/kbase/b", "ghcr.io/kbase/c"}
    assert run(filled, *CACHE, "verify", "dev").code == 0
    (filled.work / "images" / f"sha256-{'c' * 64}.sif").write_bytes(b"x")
    wrong = run(filled, *CACHE, "verify", "dev", "sha256:cccccc")
    assert wrong.code == 1
    assert wrong.out.startswith(f"FAIL  sha256:{'c' * 64}: it is not what was converted")
    gone = run(filled, *CACHE, "remove", "dev", "ghcr.io/kbase/c", "--json")
    assert json.loads(gone.out) == {"removed": "sha256:" + "c" * 64, "cluster": "dev"}
    done = run(filled, *CACHE, "prune", "dev", "--max", "0")
    assert done.out == "dev: 1 images removed, 2.00K; 0 left\n"


def test_what_cannot_be_meant_is_refused(filled: FakeGateway) -> None:
    run(filled, *CACHE, "remove", "dev", "nothing").refused(3, "'nothing' is no image in the cache")
    run(filled, *CACHE, "remove", "dev", "sha256:").refused(3, "no image")
    assert "is no size" in run(filled, *CACHE, "prune", "dev", "--max", "much").err
    kept = run(filled, *CACHE, "prune", "dev").out
    assert kept == "dev: 0 images removed, 0; 4.00K left\n"
    run(filled, *CACHE, "list", "--site", "mars").refused(3, "There is no site 'mars'")


def test_others_are_refused(fake: FakeGateway) -> None:
    run(fake, *CACHE, "list").refused(3, "(appcode 20000)")
    run(fake, *CACHE, "prune", "dev", "--max", "0").refused(3, "(appcode 20000)")
