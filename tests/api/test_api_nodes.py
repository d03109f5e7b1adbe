"""The route of compute nodes: the token of one job asks for that job, in bounded room, and holds up no user."""

from __future__ import annotations

import threading
import time

import httpx

from tests.api.gateway_fake import FakeGateway, until

JOB = "/node/12/requests"


def codes(answer: httpx.Response) -> tuple[int, int]:
    """Status and appcode of a refusal."""
    return answer.status_code, answer.json()["error"]["appcode"]


def test_a_node_asks_for_its_job_and_gets_the_answer_as_it_is(fake: FakeGateway) -> None:
    with fake.over_tcp(fake.nodes.token(12)) as http:
        answer = http.post(JOB, content=b'{"version": 1}')
    assert answer.json() == {"version": 1, "inputs": []}
    assert answer.headers["content-type"] == "application/json"
    assert fake.nodes.asked == [(12, b'{"version": 1}')]


def test_the_token_of_another_job_and_an_address_that_is_none_are_refused_alike(
    fake: FakeGateway,
) -> None:
    with fake.over_tcp(fake.nodes.token(12)) as http:
        for job in ("13", "012", "x", "9" * 400, "%00"):
            assert codes(http.post(f"/node/{job}/requests", content=b"{}")) == (401, 10020), job
    assert fake.nodes.asked == []
    assert fake.nodes.token(12) not in fake.log.text


def test_who_sends_too_many_wrong_tokens_is_not_listened_to_but_one_that_worked_is(
    fake: FakeGateway,
) -> None:
    with fake.over_tcp() as http:
        good = {"Authorization": f"Bearer {fake.nodes.token(12)}"}
        assert http.post(JOB, content=b"{}", headers=good).status_code == 200
        wrong = {"Authorization": f"Bearer {fake.nodes.token(13)}"}
        last = [http.post(JOB, content=b"{}", headers=wrong) for _ in range(31)][-1]
        assert codes(last) == (401, 10000)
        assert int(last.headers["retry-after"]) > 0
        assert http.post(JOB, content=b"{}", headers=good).status_code == 200
    fake.restart()  # nobody else waits for this minute


def test_a_body_has_at_most_what_the_mailbox_takes_and_is_not_read_without_a_token(
    fake: FakeGateway,
) -> None:
    large = b" " * (8 << 20)
    with fake.over_tcp(fake.nodes.token(12)) as http:
        assert http.post(JOB, content=large).status_code == 200
        assert codes(http.post(JOB, content=large + b" ")) == (413, 30001)
    with fake.over_tcp() as http:
        assert codes(http.post(JOB, content=b"{}")) == (401, 10010)
    assert len(fake.nodes.asked) == 1


def test_many_nodes_at_once_hold_up_no_user(fake: FakeGateway) -> None:
    fake.nodes.gate.clear()
    answers: list[int] = []

    def node() -> None:
        with fake.over_tcp(fake.nodes.token(12)) as http:
            while True:
                try:
                    answers.append(http.post(JOB, content=b"{}").status_code)
                    return
                except httpx.ConnectError:  # of so many at once the listener turns some away
                    time.sleep(0.05)

    nodes = [threading.Thread(target=node) for _ in range(80)]
    for each in nodes:
        each.start()
    try:
        until(lambda: fake.server is not None and fake.server.busy >= len(nodes))
        assert (
            fake.http.get("/jobs").status_code == 200
        )  # it takes one of the threads that users have
    finally:
        fake.nodes.gate.set()
        for each in nodes:
            each.join(30)
    assert answers == [200] * len(nodes)
