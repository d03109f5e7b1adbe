"""/ready is open to anybody, and no lever: one check at a time, whoever asks."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from gateway import wire
from gateway.api.readiness import Readiness
from tests.api.gateway_fake import FakeGateway, until


def test_a_hundred_who_ask_while_a_check_hangs_make_one_check_and_hold_no_thread(
    fake: FakeGateway,
) -> None:
    hold, checks = threading.Event(), []
    plain = fake.info.ready

    def slow() -> wire.Ready:
        checks.append(1)
        assert hold.wait(30)
        return plain()

    fake.info.ready = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(80) as pool:
        answers = [pool.submit(fake.http.get, "/ready") for _ in range(80)]
        until(lambda: fake.server is not None and fake.server.busy == 80)
        assert fake.http.get("/jobs").status_code == 200
        assert checks == [1]
        hold.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert checks == [1]


def test_an_answer_serves_for_two_seconds() -> None:
    time = [0.0]
    checks: list[float] = []

    def check() -> wire.Ready:
        checks.append(time[0])
        return wire.Ready(ready=len(checks) > 1, checks=[])

    async def ask() -> list[bool]:
        readiness, found = Readiness(lambda: time[0]), []
        for when in (0.0, 1.9, 2.0, 3.9):
            time[0] = when
            found.append((await readiness.answer(check)).ready)
        return found

    assert asyncio.run(ask()) == [False, False, True, True]
    assert checks == [0.0, 2.0]


def test_a_check_that_fails_is_a_500_and_the_next_one_is_made(fake: FakeGateway) -> None:
    plain = fake.info.ready

    def broken() -> wire.Ready:
        raise RuntimeError("x")

    fake.info.ready = broken  # type: ignore[method-assign]
    assert fake.http.get("/ready").status_code == 500
    fake.info.ready = plain  # type: ignore[method-assign]
    assert fake.http.get("/ready").json()["ready"] is True
