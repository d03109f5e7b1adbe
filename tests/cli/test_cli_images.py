"""The commands of images and of requests say what they did, and hand on what they were given."""

from __future__ import annotations

import json

import pytest

from tests.api.gateway_fake import IMAGE, FakeGateway
from tests.cli.run import run

NAME = "ghcr.io/kbase/checksum:1.0"
WANTED = "ghcr.io/kbase/wanted:1.0"


def test_an_image_is_shown_whole(fake: FakeGateway) -> None:
    done = run(fake, "cts", "image", "show", NAME)
    assert done.code == 0
    assert f"Digest    {IMAGE.digest}" in done.out
    assert "Program   /sum" in done.out
    found = json.loads(run(fake, "cts", "image", "show", "--json", NAME).out)
    assert (found["tag"], found["urls"], found["statuses"]) == ("1.0", [], [])
    run(fake, "cts", "image", "show", "other:1").refused(3, "(appcode 40030)")


def test_an_approval_hands_on_what_is_said_of_the_image(fake_admin: FakeGateway) -> None:
    words = ("--link", "https://a.example", "--link", "https://b.example", "--usage-notes", "so")
    done = run(fake_admin, "cts", "admin", "image", "approve", NAME, *words, "--stage")
    assert done.out.splitlines() == [f"{NAME} is {IMAGE.digest}", "staged at dev (created)"]
    as_json = run(fake_admin, "cts", "admin", "image", "approve", NAME, *words, "--json").out
    assert json.loads(as_json)["urls"] == ["https://a.example", "https://b.example"]
    assert json.loads(as_json)["usage_notes"] == "so"
    bad = run(fake_admin, "cts", "admin", "image", "approve", NAME, "--link", "ftp://x")
    bad.refused(2, "body.urls.0: must be an address of http or https", "(appcode 30010)")


def test_an_image_is_staged_at_sites_and_deleted(fake_admin: FakeGateway) -> None:
    staged = run(fake_admin, "cts", "admin", "image", "stage", NAME, "--site", "a", "--site", "b")
    assert staged.out == "staged at a (created), b (created)\n"
    done = run(fake_admin, "cts", "admin", "image", "delete", NAME, "--json")
    assert json.loads(done.out) == {"deleted": NAME}
    assert run(fake_admin, "cts", "admin", "image", "delete", NAME).out == ""
    run(fake_admin, "cts", "admin", "image", "delete", "x:1").refused(3, "(appcode 40030)")


@pytest.mark.parametrize(
    "words",
    [
        ("image", "delete", NAME),
        ("image", "stage", NAME),
        ("requests",),
        ("request", "approve", "1"),
        ("request", "decline", "1", "--reason", "no"),
    ],
)
def test_what_is_for_admins_is_refused_to_others(fake: FakeGateway, words: tuple[str, ...]) -> None:
    run(fake, "cts", "admin", *words).refused(3, "(appcode 20000)")


def test_a_request_is_asked_listed_and_answered(fake_admin: FakeGateway) -> None:
    made = run(fake_admin, "cts", "request", "image", WANTED, "--note", "for bins").out.strip()
    again = json.loads(run(fake_admin, "cts", "request", "image", WANTED, "--json").out)
    assert (again["id"], again["note"]) == (made, "for bins")
    fake_admin.store.put("data/db.tar")
    data = run(fake_admin, "cts", "request", "refdata", "data/db.tar", "--unpack").out.strip()
    listed = run(fake_admin, "cts", "requests").out.splitlines()
    assert [line.split()[0] for line in listed[1:]] == [data, made]
    assert "data/db.tar (unpacked)" in listed[1]
    done = run(fake_admin, "cts", "admin", "request", "approve", made, "--answer", "enjoy")
    assert done.out == f"{IMAGE.name}@{IMAGE.digest}\n"
    declined = run(fake_admin, "cts", "admin", "request", "decline", data, "--reason", "too large")
    assert declined.out == ""
    states = json.loads(run(fake_admin, "cts", "admin", "requests", "--json").out)
    assert [(r["state"], r["answer"]) for r in states] == [
        ("declined", "too large"),
        ("approved", "enjoy"),
    ]
    assert run(fake_admin, "cts", "requests", "--state", "pending").out.count("\n") == 1
    run(fake_admin, "cts", "requests", "--state", "lost").refused(2)
    run(fake_admin, "cts", "admin", "request", "approve", made).refused(2, "was approved by")
