"""The threads of transfers, and the patience with a daemon that does not answer."""

from __future__ import annotations

import threading

import pytest

from gateway.agent.mailbox import (
    ASK_AGAIN_SECONDS,
    PATIENCE_SECONDS,
    Mailbox,
    NoAnswer,
    Stop,
    Stopped,
)
from gateway.agent.place import Place
from gateway.agent.pool import Pool
from gateway.agent.s3http import Pace, Policy, Transient, persist
from tests.agent.conftest import SLURM, Site


class Clock:
    """A clock that goes on by so many seconds each time somebody looks."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def nothing() -> None:
    pass


def wait_at(barrier: threading.Barrier) -> None:
    barrier.wait(5)


def wait_for(gate: threading.Event) -> None:
    gate.wait(10)


def test_a_pool_does_all_that_is_submitted_also_by_its_own_tasks() -> None:
    pool, done, lock = Pool(3, nothing), [], threading.Lock()

    def work(depth: int) -> None:
        with lock:
            done.append(depth)
        for _ in range(2 if depth else 0):
            pool.submit(lambda: work(depth - 1))

    pool.submit(lambda: work(6))
    pool.settle(0)
    assert len(done) == 2**7 - 1
    pool.close()


def test_a_pool_has_as_many_threads_as_it_may_and_no_more() -> None:
    pool, barrier = Pool(4, nothing), threading.Barrier(5)
    before = threading.active_count()
    for _ in range(20):
        pool.submit(lambda: wait_at(barrier))
    for _ in range(5):
        assert threading.active_count() <= before + 4
        barrier.wait(5)
    pool.settle(0)
    pool.close()


def test_the_first_failure_of_a_pool_comes_out_where_it_is_waited_for() -> None:
    pool = Pool(2, nothing)

    def fail() -> None:
        raise LookupError("first")

    pool.submit(fail)
    with pytest.raises(LookupError, match="first"):
        pool.settle(0)
    pool.close()


def test_settling_returns_when_few_enough_tasks_are_open() -> None:
    pool, gate = Pool(2, nothing), threading.Event()
    for _ in range(2):
        pool.submit(lambda: wait_for(gate))
    pool.submit(nothing)
    pool.settle(3)
    gate.set()
    pool.settle(0)
    pool.close()


def test_an_end_interrupts_settling_though_tasks_hang() -> None:
    stop, gate = Stop(), threading.Event()
    pool = Pool(1, stop.check)
    pool.submit(lambda: wait_for(gate))
    threading.Timer(0.05, lambda: setattr(stop, "canceled", True)).start()
    with pytest.raises(Stopped, match="canceled"):
        pool.settle(0)
    gate.set()
    pool.close()


def test_a_closed_pool_drops_what_has_not_begun() -> None:
    pool, gate, begun, done = Pool(1, nothing), threading.Event(), threading.Event(), []
    threads: list[threading.Thread] = []

    def first() -> None:
        threads.append(threading.current_thread())
        begun.set()
        gate.wait(10)

    pool.submit(first)
    begun.wait(10)
    pool.submit(lambda: done.append(1))
    pool.close()
    gate.set()
    threads[0].join(10)
    assert not threads[0].is_alive()
    assert done == []


def test_a_daemon_that_lost_a_request_is_asked_again_under_another_number(site: Site) -> None:
    site.place()
    site.daemon.deaf = 1
    job = site.job()
    clock = Clock(ASK_AGAIN_SECONDS / 4)
    mailbox = Mailbox(job, 0, SLURM, Place(job, 0, SLURM), "stage-out", clock)
    mailbox.ask("stage-out", Stop(), outputs=[])
    first, *_, last = site.daemon.of("stage-out")
    assert first["seq"] == 300_001
    assert last["seq"] > first["seq"]


def test_a_late_answer_to_the_first_question_counts_too(site: Site) -> None:
    place = site.place()
    site.daemon.close()
    job = site.job()
    slept = 0

    def sleep(_: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 20:  # the question was asked several times by now
            (place.grants / "77.300001.json").write_text('{"version": 1, "seq": 300001}')

    mailbox = Mailbox(job, 0, SLURM, place, "stage-out", Clock(ASK_AGAIN_SECONDS / 2))
    answer = mailbox.ask("stage-out", Stop(sleep), outputs=[])
    assert answer.whole("seq") == 300_001
    assert list(place.grants.iterdir()) == []
    assert len(list((site.work / "mailbox").iterdir())) == 1


def test_a_daemon_that_never_answers_is_given_up_after_hours(site: Site) -> None:
    place = site.place()
    site.daemon.close()
    clock = Clock(1000.0)
    mailbox = Mailbox(site.job(), 0, SLURM, place, "stage-in", clock)
    with pytest.raises(NoAnswer, match="did not answer"):
        mailbox.ask("stage-in", Stop(lambda _: None), inputs=[])
    assert clock.now > PATIENCE_SECONDS


def test_requests_name_the_container_and_hold_the_jobs_token(site: Site) -> None:
    site.place()
    site.daemon.close()
    job = site.job()
    restarted = SLURM._replace(restarts=2)
    seq = Mailbox(job, 0, restarted, Place(job, 0, restarted), "batch").tell("phase", phase="run")
    assert seq == 2_000_001
    (path,) = (site.work / "mailbox").iterdir()
    assert path.name == "1234.0.77.2000001.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"token": "secret-token"' in path.read_text()


def test_attempts_are_bounded_and_wait_longer_each_time() -> None:
    waits: list[float] = []
    policy = Policy(attempts=6, first=1.0, longest=5.0)

    def fail() -> None:
        raise Transient("no")

    with pytest.raises(Transient, match="no"):
        persist(fail, Stop(waits.append), policy, "x", jitter=lambda: 1.0)
    assert sum(waits) == pytest.approx(1 + 2 + 4 + 5 + 5)


def test_a_transfer_that_crawls_is_stalled_and_a_slow_one_is_not() -> None:
    policy = Policy(window=10.0, floor_bytes=100)
    slow = Pace(policy, Clock(1.0))
    for _ in range(100):
        slow.add(20)
    crawling = Pace(policy, Clock(1.0))
    for _ in range(9):
        crawling.add(5)
    with pytest.raises(Transient, match="stalled: 50 bytes"):
        crawling.add(5)
