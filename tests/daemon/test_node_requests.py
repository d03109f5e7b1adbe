"""Grants over TLS, behind the route: the token of a job grants what that job's mailbox would, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.daemon.node_requests import NodeRequests
from gateway.errors import AppCode, GatewayError
from gateway.s3.client import S3UnavailableError
from tests.daemon.world import World, announced, put


def nodes(world: World, url: str | None = "https://cts.example.org:8443") -> NodeRequests:
    """The service, of a site that has the road or not."""
    section = world.config.sites["dev"].model_copy(update={"grants_url": url})
    config = world.config.model_copy(update={"sites": {"dev": section}})
    return NodeRequests(config, world.database, world.store)


def letter(world: World, number: int, kind: str = "stage-out", **fields: Any) -> bytes:
    """A request of container 0."""
    document: dict[str, Any] = {
        "version": 1, "kind": kind, "job_id": number, "container": 0, "token": world.job(number).token,
        "slurm_job_id": "77", "seq": 3,
    }  # fmt: skip
    return json.dumps(document | fields).encode()


def test_an_answer_is_that_of_the_mailbox_and_its_grants_work(world: World) -> None:
    number, _ = world.submit()
    body = letter(world, number, outputs=[announced("a.txt", b"abc")])
    answer = json.loads(nodes(world).answer(number, body))
    assert (answer["version"], answer["seq"], answer["error"]) == (1, 3, None)
    put(answer["outputs"][0], b"abc")
    assert world.bucket.get(f"{world.prefix}a.txt") == b"abc"
    assert set(answer) == set(world.ask(number, "stage-in", inputs=[]))


def test_a_token_is_that_of_its_job_at_a_site_with_this_road(world: World) -> None:
    number, _ = world.submit()
    token = world.job(number).token
    other, _ = world.submit(token="0ther" * 10)
    nodes(world).check(number, token)
    for service, job, given in (
        (nodes(world), number, token[:-1]),
        (nodes(world), number, world.job(other).token),
        (nodes(world), number, "ü" * 60),
        (nodes(world), number + 1000, token),
        (nodes(world, None), number, token),
    ):
        with pytest.raises(GatewayError) as caught:
            service.check(job, given)
        assert caught.value.code is AppCode.INVALID_TOKEN
        assert token not in str(caught.value)


def test_a_request_is_of_the_job_in_its_address_and_of_a_container_of_it(world: World) -> None:
    number, _ = world.submit()
    other, _ = world.submit(token="0ther" * 10)
    for body in (
        letter(world, other),
        letter(world, number, token="no"),
        letter(world, number, container=5),
        letter(world, number, submission=4),
        letter(world, number, kind="result"),
        letter(world, number, kind="phase", phase="run"),
        b"",
        b"{}",
        b"\xff",
        b"[" * 10_000,
    ):
        with pytest.raises(GatewayError) as caught:
            nodes(world).answer(number, body)
        assert caught.value.code is AppCode.ILLEGAL_PARAMETER
        assert world.job(number).token not in str(caught.value)
    assert world.container(number).phase == "pending"


def test_a_job_that_has_ended_is_granted_nothing(world: World) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.settle()
    body = letter(world, number, outputs=[announced("late.txt", b"abc")])
    answer = json.loads(nodes(world).answer(number, body))
    assert (answer["error"], answer["outputs"]) == ("the job has ended", [])


def test_a_store_that_is_away_is_no_answer_so_that_the_mailbox_waits_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, _ = world.submit()
    big = bytes(6 << 20)

    def away(*_: Any) -> str:
        raise S3UnavailableError("it is away")

    monkeypatch.setattr(world.store, "start_upload", away)
    with pytest.raises(S3UnavailableError):
        nodes(world).answer(number, letter(world, number, outputs=[announced("big", big)]))
