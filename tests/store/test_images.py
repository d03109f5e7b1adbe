"""Approved images are found by what users write of them."""

from __future__ import annotations

import pytest

from gateway.store import images as store
from gateway.store.db import Database
from tests.store.rows import image


@pytest.fixture
def three(database: Database) -> Database:
    with database.write() as session:
        session.add(image(digest="sha256:1", tag="1"))
        session.add(image(digest="sha256:2", tag=None))
        session.add(image(digest="sha256:1", tag="1", name="ghcr.io/b/a"))
    return database


@pytest.mark.parametrize(
    ("tag", "digest", "found"),
    [
        ("1", None, "sha256:1"),
        (None, "sha256:2", "sha256:2"),
        ("9", "sha256:2", "sha256:2"),
        ("9", None, None),
        (None, "sha256:9", None),
    ],
)
def test_an_image_is_found_by_digest_or_else_by_tag(
    three: Database, tag: str | None, digest: str | None, found: str | None
) -> None:
    with three.read() as session:
        row = store.find(session, "docker.io/library/a", tag=tag, digest=digest)
    assert (row.digest if row else None) == found


def test_names_are_not_mixed_up(three: Database) -> None:
    with three.read() as session:
        row = store.find(session, "ghcr.io/b/a", tag="1")
        assert row is not None
        assert row.name == "ghcr.io/b/a"
        assert store.find(session, "docker.io/library/b", tag="1") is None


def test_all_are_listed_by_name_and_of_one_name_the_oldest_first(three: Database) -> None:
    with three.read() as session:
        assert [row.id for row in store.everything(session)] == [1, 2, 3]
