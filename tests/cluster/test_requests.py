"""Requests for images and reference data on the real site: asked by users, answered by an admin, and of use then."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.cluster.test_images import new_image
from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster


def ask(site: DevCluster, *words: str, user: str = "alice") -> str:
    return site.run("cts", "request", *words, user=user).stdout.strip()


def answer(site: DevCluster, *words: str, check: bool = True) -> Any:
    return site.run("cts", "admin", "request", *words, user="ada", check=check)


def one(site: DevCluster, request_id: str, user: str = "alice") -> dict[str, Any]:
    rows = json.loads(site.run("cts", "requests", "--json", user=user).stdout)
    found: dict[str, Any] = next(row for row in rows if row["id"] == request_id)
    return found


def test_an_image_that_a_user_asks_for_is_approved_and_runs(site: DevCluster) -> None:
    name = new_image(site)
    first = ask(site, "image", name, "--note", "for the new bins")
    assert ask(site, "image", name) == first
    others = ask(site, "image", name, user="bob")
    assert others != first
    assert one(site, first)["state"] == "pending"
    listed = site.run("cts", "admin", "requests", "--state", "pending", user="ada").stdout
    assert any(line.startswith(first) and "for the new bins" in line for line in listed.splitlines())  # fmt: skip
    path = f"http://cts/requests/{first}"
    curl = ("curl", "-s", "--unix-socket", "/run/cts/cts.sock", path)
    assert json.loads(site.run(*curl, user="bob").stdout)["error"]["appcode"] == 40000
    denied = site.run("cts", "admin", "request", "approve", first, user="alice", check=False)
    assert (denied.returncode, "(appcode 20000)" in denied.stderr) == (3, True)
    done = answer(site, "approve", first, "--answer", "enjoy", "--link", "https://example.org/tool")
    assert done.stdout.startswith(f"{name.rpartition(':')[0]}@sha256:")
    for user, request_id in (("alice", first), ("bob", others)):
        row = one(site, request_id, user)
        assert (row["state"], row["answered_by"], row["answer"]) == ("approved", "ada", "enjoy")
    image = json.loads(site.run("cts", "image", "show", "--json", name).stdout)
    assert (image["urls"], image["registered_by"]) == (["https://example.org/tool"], "ada")
    job = site.finish(site.submit(image=name, params={"args": ["-c", "echo x > /output_files/x"]}))
    assert job["state"] == "complete", job["error"]
    there = site.run("cts", "request", "image", name, check=False)
    assert "is approved already; use it in a job as it is. (appcode 50010)" in there.stderr


def test_a_request_is_declined_with_a_reason_and_one_that_cannot_be_done_stays_pending(
    site: DevCluster,
) -> None:
    name = f"{site.registry}/test/none-{uuid.uuid4().hex[:8]}:1.0"
    made = ask(site, "image", name)
    failed = answer(site, "approve", made, check=False)
    assert "(manifest unknown)" in failed.stderr
    assert "(appcode 30050)" in failed.stderr
    assert one(site, made)["state"] == "pending"
    answer(site, "decline", made, "--reason", "there is no such image; do you mean argv?")
    row = one(site, made)
    assert (row["state"], row["answer"]) == (
        "declined",
        "there is no such image; do you mean argv?",
    )
    again = answer(site, "decline", made, "--reason", "no", check=False)
    assert f"The request {made} was declined by ada" in again.stderr
    query = (
        "SELECT action, result FROM audit WHERE target=? AND action LIKE 'request.%' ORDER BY id"
    )
    read = f'import sqlite3,sys; [print(*row) for row in sqlite3.connect("/var/lib/cts/cts.db").execute("{query}", sys.argv[1:])]'  # fmt: skip
    rows = site.run("python3", "-c", read, made, user="ctsd").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["request.approve", "request.decline", "request.decline"]  # fmt: skip
    assert rows[1] == "request.decline ok"


def test_an_object_that_a_user_asks_for_becomes_reference_data_of_the_site(
    site: DevCluster,
) -> None:
    path = f"results/request-{uuid.uuid4().hex}/genome.txt"
    site.run("sh", "-c", f"echo ACGT | aws s3 cp --only-show-errors - s3://{path}")
    made = ask(site, "refdata", path, "--note", "the genome of the course")
    number = answer(site, "approve", made).stdout.strip()
    row = one(site, made)
    assert (row["state"], row["result"]) == ("approved", number)

    def state() -> str:
        text = site.run("cts", "refdata", number, "--json").stdout
        statuses = json.loads(text)["statuses"]
        return next((str(at["state"]) for at in statuses if at["cluster"] == "dev"), "")

    site.until(lambda: state() == "complete")
    there = site.run("cts", "request", "refdata", path, check=False)
    assert f"registered already as {number}" in there.stderr
    missing = site.run("cts", "request", "refdata", f"{path}.none", check=False)
    assert "(appcode 40010)" in missing.stderr
